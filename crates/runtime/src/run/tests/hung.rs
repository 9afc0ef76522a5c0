//! A boundary that never answers: signals and deadlines must work all the same.

use std::sync::atomic::{AtomicBool, Ordering};

use agentkernel_core::{
    Availability, Backend, Capabilities, Ended, Files, Posture, Process, Result, SandboxName, Stopped,
};

use super::*;

/// Where it hangs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Boot,
    Exec,
}

struct HungBackend {
    hangs: Where,
    stopped: Arc<AtomicBool>,
}

#[async_trait]
impl Backend for HungBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        FakeBackend::new().capabilities()
    }

    async fn probe(&self) -> Availability {
        Availability::Available { facts: Vec::new() }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        if self.hangs == Where::Boot {
            std::future::pending::<()>().await;
        }
        let sandbox = Box::new(HungSandbox { name: spec.name().clone(), stopped: self.stopped.clone() });
        Ok(Booted { sandbox, boot: Duration::ZERO, ready: Duration::ZERO })
    }
}

struct HungSandbox {
    name: SandboxName,
    stopped: Arc<AtomicBool>,
}

#[async_trait]
impl Sandbox for HungSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Fake
    }

    async fn exec(&self, _command: &Command) -> Result<Box<dyn Process>> {
        std::future::pending().await
    }

    fn files(&self) -> &dyn Files {
        unreachable!("a run touches no files")
    }

    async fn ping(&self) -> Result<Duration> {
        std::future::pending().await
    }

    async fn posture(&self) -> Result<Posture> {
        std::future::pending().await
    }

    async fn ended(&self) -> Ended {
        std::future::pending().await
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        self.stopped.store(true, Ordering::Relaxed);
        Ok(Stopped { cause: None, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}

/// Runs on a backend that hangs; whether its sandbox was stopped comes with the report.
async fn run_hung(
    hangs: Where,
    command_timeout: Option<Duration>,
    said: Option<RunSignal>,
) -> (RunReport, bool) {
    let stopped = Arc::new(AtomicBool::new(false));
    let registry = Registry::of(vec![Arc::new(HungBackend { hangs, stopped: stopped.clone() })]);
    let mut request = Trial::new("true").request;
    request.command.timeout = command_timeout;
    let (sender, signals) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Some(signal) = said {
            sender.send(signal).await.expect("a listener");
        }
    });
    let io = RunIo { stdin: None, output: &mut Kept::default(), signals };
    let report = tokio::time::timeout(Duration::from_secs(20), run(&registry, &request, io)).await;
    (report.expect("a run ends").expect("it began"), stopped.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_boot_that_hangs_can_be_ended() {
    let (report, _) = run_hung(Where::Boot, None, Some(RunSignal::End(SIGINT))).await;
    assert!(matches!(report.ending, Ending::Signalled(SIGINT)), "{report:?}");
    assert_eq!((report.stopped, report.phases.boot), (None, None));
}

#[tokio::test]
async fn a_guest_that_does_not_answer_can_be_ended() {
    let (report, stopped) = run_hung(Where::Exec, None, Some(RunSignal::End(SIGTERM))).await;
    assert!(matches!(report.ending, Ending::Signalled(SIGTERM)), "{report:?}");
    assert!(stopped);
}

#[tokio::test]
async fn a_guest_that_does_not_answer_has_a_deadline() {
    let (report, stopped) = run_hung(Where::Exec, Some(Duration::from_millis(50)), None).await;
    assert!(matches!(report.ending, Ending::TimedOut), "{report:?}");
    assert!(report.timed_out() && stopped);
}
