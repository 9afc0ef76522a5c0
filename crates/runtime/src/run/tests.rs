mod hung;
mod stop;

use std::sync::Arc;

use agentkernel_core::{BackendKind, CauseOfDeath, ExitStatus, Profile, Stdin};
use agentkernel_testkit::FakeBackend;

use super::*;

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Keeps what it gets.
#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[async_trait]
impl RunOutput for Kept {
    async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> io::Result<()> {
        match stream {
            OutputStream::Stdout => self.stdout.extend_from_slice(&bytes),
            OutputStream::Stderr => self.stderr.extend_from_slice(&bytes),
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away, one of whom that is known only later, or one that never reads.
enum Bad {
    Gone,
    GoneUnseen,
    Stuck,
}

#[async_trait]
impl RunOutput for Bad {
    async fn write(&mut self, _stream: OutputStream, _bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Gone => Err(io::ErrorKind::BrokenPipe.into()),
            Self::GoneUnseen => Ok(()),
            Self::Stuck => std::future::pending().await,
        }
    }

    async fn failed(&mut self) -> io::Error {
        match self {
            Self::GoneUnseen => io::ErrorKind::BrokenPipe.into(),
            Self::Gone | Self::Stuck => std::future::pending().await,
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        std::future::pending().await
    }
}

/// A run on the fake backend.
struct Trial {
    registry: Registry,
    request: RunRequest,
    stdin: Option<mpsc::Receiver<Bytes>>,
    signals: Vec<RunSignal>,
}

impl Trial {
    fn new(script: &str) -> Self {
        let registry = Registry::of(vec![Arc::new(FakeBackend::new())]);
        let name = random_name().expect("a name");
        let request = RunRequest {
            backend: BackendRequest::Auto,
            spec: SandboxSpec::builder(name, Profile::Restrictive).build().expect("valid"),
            command: Command::new(["sh", "-c", script]),
            output_limit: ByteSize::mib(1),
            began: Instant::now(),
        };
        Self { registry, request, stdin: None, signals: Vec::new() }
    }

    /// Runs it; the signals are sent a moment after the command was started.
    async fn run(mut self, output: &mut dyn RunOutput) -> Result<RunReport> {
        let (sender, signals) = mpsc::channel(8);
        let said = std::mem::take(&mut self.signals);
        let saying = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            for signal in said {
                sender.send(signal).await.ok();
            }
            std::future::pending::<()>().await;
        });
        let io = RunIo { stdin: self.stdin.take(), output, signals };
        let result =
            tokio::time::timeout(Duration::from_secs(60), run(&self.registry, &self.request, io)).await;
        saying.abort();
        self.assert_nothing_left().await;
        result.expect("a run ends")
    }

    /// The fake keeps a name for as long as its sandbox lives.
    async fn assert_nothing_left(&self) {
        let backend = self.registry.get(BackendKind::Fake).expect("the fake");
        backend.boot(&self.request.spec).await.expect("the name is free again");
    }
}

fn status(report: &RunReport) -> ExitStatus {
    report.status().unwrap_or_else(|| panic!("the end was not seen: {report:?}"))
}

#[tokio::test]
async fn a_run_tells_output_exit_code_and_where_the_time_went() {
    let mut kept = Kept::default();
    let report = Trial::new("echo out; echo err >&2; exit 7").run(&mut kept).await.expect("ran");
    assert_eq!((kept.stdout.as_slice(), kept.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(status(&report), ExitStatus::Code(7));
    assert_eq!((report.cause, report.timed_out()), (CauseOfDeath::Exited, false));
    assert_eq!(report.choice.backend, BackendKind::Fake);
    let phases = report.phases;
    assert!(
        phases.boot.is_some() && phases.ready.is_some() && phases.exec.is_some() && phases.stop.is_some()
    );
    assert_eq!((phases.queue, phases.acquire), (None, None));
    let sum: Duration = phases.named().iter().filter_map(|(_, time)| *time).sum();
    assert_eq!(sum + phases.residual(), phases.total);
}

#[tokio::test]
async fn stdin_arrives_byte_for_byte() {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (sender, receiver) = mpsc::channel(1);
    let sent = bytes.clone();
    tokio::spawn(async move {
        for chunk in sent.chunks(7_001) {
            sender.send(Bytes::copy_from_slice(chunk)).await.expect("read");
        }
    });
    let mut trial = Trial::new("cat");
    trial.request.command.stdin = Stdin::Pipe;
    trial.stdin = Some(receiver);
    let mut kept = Kept::default();
    trial.run(&mut kept).await.expect("ran");
    assert!(kept.stdout == bytes);
}

#[tokio::test]
async fn a_stdin_that_never_ends_keeps_nobody_from_ending() {
    let (_sender, receiver) = mpsc::channel(1);
    let mut trial = Trial::new("true");
    trial.request.command.stdin = Stdin::Pipe;
    trial.stdin = Some(receiver);
    let report = trial.run(&mut Kept::default()).await.expect("ran");
    assert_eq!(status(&report), ExitStatus::Code(0));
}

#[tokio::test]
async fn output_beyond_its_limit_is_dropped_and_counted_and_the_command_goes_on() {
    let mut trial = Trial::new("printf 123456; printf abcdef >&2; printf 789; exit 3");
    trial.request.output_limit = ByteSize::bytes(8).expect("not zero");
    let mut kept = Kept::default();
    let report = trial.run(&mut kept).await.expect("ran");
    assert_eq!(kept.stdout.len() + kept.stderr.len(), 8);
    assert_eq!((report.output.total, report.output.is_truncated()), (15, true));
    assert_eq!(status(&report), ExitStatus::Code(3));
}

#[tokio::test]
async fn a_deadline_ends_the_command_and_keeps_what_it_said() {
    let mut trial = Trial::new("echo before; sleep 100");
    trial.request.command.timeout = Some(Duration::from_millis(200));
    let mut kept = Kept::default();
    let report = trial.run(&mut kept).await.expect("ran");
    assert!(report.timed_out());
    assert_eq!(kept.stdout, b"before\n");
}

#[tokio::test]
async fn a_deadline_holds_while_nobody_reads_the_output() {
    let mut trial = Trial::new("yes");
    trial.request.command.timeout = Some(Duration::from_millis(200));
    let report = trial.run(&mut Bad::Stuck).await.expect("ran");
    assert!(matches!(report.ending, Ending::TimedOut), "{report:?}");
}

#[tokio::test]
async fn a_signal_is_passed_on_and_the_command_dies_of_it() {
    let mut trial = Trial::new("sleep 100");
    trial.signals = vec![RunSignal::End(SIGTERM)];
    let report = trial.run(&mut Kept::default()).await.expect("ran");
    assert_eq!(status(&report), ExitStatus::Signal(SIGTERM));
}

#[tokio::test]
async fn a_command_that_ignores_the_first_signal_is_killed_after_its_grace() {
    let mut trial = Trial::new("trap '' INT; while :; do sleep 0.1; done");
    trial.signals = vec![RunSignal::End(SIGINT)];
    let began = Instant::now();
    let report = trial.run(&mut Kept::default()).await.expect("ran");
    assert!(matches!(report.ending, Ending::Signalled(SIGINT)), "{report:?}");
    assert_eq!(report.cause, CauseOfDeath::Killed);
    assert!(began.elapsed() >= SIGNAL_GRACE);
}

#[tokio::test]
async fn the_second_signal_kills_at_once_even_while_nobody_reads_the_output() {
    let mut trial = Trial::new("trap '' INT; while :; do echo x; done");
    trial.signals = vec![RunSignal::End(SIGINT), RunSignal::End(SIGINT)];
    let began = Instant::now();
    let report = trial.run(&mut Bad::Stuck).await.expect("ran");
    assert!(matches!(report.ending, Ending::Signalled(SIGINT)), "{report:?}");
    assert!(began.elapsed() < SIGNAL_GRACE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reader_that_went_away_ends_the_run() {
    for mut reader in [Bad::Gone, Bad::GoneUnseen] {
        let report = Trial::new("echo x; sleep 100").run(&mut reader).await.expect("ran");
        match report.ending {
            Ending::OutputFailed(why) => assert_eq!(why.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_an_error_and_leaves_no_sandbox() {
    let mut trial = Trial::new("");
    trial.request.command = Command::new(["/no/such/program"]);
    let error = trial.run(&mut Kept::default()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::CommandNotFound);
}

#[tokio::test]
async fn a_backend_that_this_build_does_not_have_is_refused() {
    let mut trial = Trial::new("true");
    trial.request.backend = BackendRequest::Named(BackendKind::Oci);
    let error = trial.run(&mut Kept::default()).await.expect_err("refused");
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::Unavailable, "oci"));
}

#[test]
fn of_two_errors_neither_is_swallowed() {
    let error = |why: &str| Error::new(ErrorKind::Host, "test", why);
    let both = both::<(), ()>(Err(error("first")), Err(error("second"))).expect_err("failed");
    assert_eq!(both.to_string(), "test: first; then test: second");
}
