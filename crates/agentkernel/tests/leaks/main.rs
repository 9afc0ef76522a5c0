//! Whatever is killed, and whenever: nothing is left. Alone in their program and one after the other:
//! they count the descriptors of their own process.

mod containers;
mod machines;
mod runtimes;
#[path = "../boundary/support.rs"]
#[expect(dead_code, reason = "the other tests of the boundary use the rest")]
mod support;

use std::io::Read as _;
use std::ops::Range;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{ByteSize, Command, OutputStream};
use agentkernel_runtime::{BackendRequest, Registry, RunIo, RunOutput, RunRequest, run};
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{TestEnvironment, random_u64};

use support::{PROGRAM, fixture, spec};

/// How long the kernel may take to remove namespaces after their last process has gone.
const SETTLE: Duration = Duration::from_secs(10);

fn assert_nothing_left(before: &Snapshot) {
    let leaks = before.settle(SETTLE);
    assert!(leaks.is_empty(), "{}", describe(&leaks));
}

/// Whose turn it is.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What one test's program runs leave would carry this word.
struct Runs {
    environment: TestEnvironment,
    word: String,
}

impl Runs {
    fn new() -> Self {
        let runs =
            Self { environment: TestEnvironment::new(), word: format!("leak{:012x}", random_u64() >> 16) };
        // The first run makes the runtime folder, which stays.
        assert!(runs.start(0, &["true"]).wait().expect("reaped").success());
        runs
    }

    fn snapshot(&self) -> Snapshot {
        let marks =
            Marks::new().word(self.word.clone()).folder(self.environment.agentkernel_home().join("run"));
        Snapshot::take(&marks)
    }

    fn start(&self, number: usize, command: &[&str]) -> Child {
        self.start_on("oci", number, command)
    }

    fn start_on(&self, backend: &str, number: usize, command: &[&str]) -> Child {
        let name = format!("{}-{backend}-{number}", self.word);
        let mut program = self.environment.command(PROGRAM);
        program.args(["run", "--backend", backend, "--name", &name, "--"]).args(command);
        program.spawn().expect("starts")
    }

    /// The first run cleans up, unless the host's own init has not yet reaped what was orphaned.
    fn clean_up(&self, backend: &str, numbers: Range<usize>, before: &Snapshot) {
        for number in numbers {
            let later = self.start_on(backend, number, &["true"]).wait().expect("reaped");
            assert!(later.success(), "a later run works: {backend}");
            if before.settle(Duration::from_millis(500)).is_empty() {
                return;
            }
        }
        assert_nothing_left(before);
    }
}

/// Waits for the first byte of a child's output, so that the next step happens while it runs.
fn wait_for_output(child: &mut Child) {
    let mut byte = [0];
    child.stdout.as_mut().expect("piped").read_exact(&mut byte).expect("it says something");
}

#[tokio::test]
async fn a_program_that_is_killed_at_any_moment_leaves_nothing() {
    let _turn = TURN.lock().await;
    if fixture().await.is_none() {
        return;
    }
    let runs = Runs::new();
    let before = runs.snapshot();
    for number in 0..150 {
        let mut child = runs.start(number, &["sleep", "1000"]);
        // From before the zygote exists until long after the sandbox is up.
        let delay = Duration::from_micros(u64::try_from(number).expect("small") * 400);
        tokio::time::sleep(delay).await;
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    assert_nothing_left(&before);
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_sandbox_with_it_and_the_next_run_cleans_up() {
    let _turn = TURN.lock().await;
    if fixture().await.is_none() {
        return;
    }
    let runs = Runs::new();
    let before = runs.snapshot();
    for signal_zygote_too in [false, true] {
        let mut child = runs.start(usize::from(signal_zygote_too), &["sh", "-c", "echo up; sleep 1000"]);
        wait_for_output(&mut child);
        let ours = descendants(child.id());
        let named = |name: &str| -> Vec<i32> {
            ours.iter().filter(|(_, comm)| comm == name).map(|(pid, _)| *pid).collect()
        };
        let mut victims = named("ak-supervisor");
        assert_eq!(victims.len(), 1, "{ours:?}");
        if signal_zygote_too {
            victims.extend(named("ak-zygote"));
            victims.push(i32::try_from(child.id()).expect("a pid"));
        }
        for pid in victims {
            let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
        assert!(!child.wait().expect("reaped").success());
    }
    runs.clean_up("oci", 10..30, &before);
}

/// Descendants of a process: PID and name. Of those that are all called `exe`, the word that they were started by.
fn descendants(root: u32) -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("mounted").flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((before, after)) = stat.rsplit_once(')') else { continue };
        let Some((pid, comm)) = before.split_once(" (") else { continue };
        let parent = after.split_whitespace().nth(1).and_then(|word| word.parse::<i32>().ok());
        if let (Ok(pid), Some(parent)) = (pid.parse::<i32>(), parent) {
            let word = || std::fs::read_to_string(entry.path().join("cmdline")).ok();
            let word = (comm == "exe").then(word).flatten();
            let word =
                word.as_ref().and_then(|words| words.split('\0').next()).filter(|word| !word.is_empty());
            all.push((pid, parent, word.unwrap_or(comm).to_owned()));
        }
    }
    let mut family = vec![i32::try_from(root).expect("a pid")];
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(pid, parent, _)| family.contains(parent) && !family.contains(pid))
            .map(|(pid, ..)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    all.into_iter().filter(|(pid, ..)| family.contains(pid)).map(|(pid, _, comm)| (pid, comm)).collect()
}

#[tokio::test]
async fn a_hundred_at_once_all_work_and_leave_nothing() {
    let _turn = TURN.lock().await;
    if fixture().await.is_none() {
        return;
    }
    let runs = Runs::new();
    let before = runs.snapshot();
    let children: Vec<Child> = (0..100).map(|number| runs.start(number, &["echo", "here"])).collect();
    for child in children {
        let output = child.wait_with_output().expect("reaped");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        assert_eq!(output.stdout, b"here\n", "{errors}");
    }
    assert_nothing_left(&before);
}

#[tokio::test]
async fn a_thousand_runs_leave_nothing() {
    let _turn = TURN.lock().await;
    if fixture().await.is_none() {
        return;
    }
    let runs = Runs::new();
    let before = runs.snapshot();
    for round in 0..125 {
        let children: Vec<Child> = (0..8).map(|slot| runs.start(round * 8 + slot, &["true"])).collect();
        for mut child in children {
            assert!(child.wait().expect("reaped").success());
        }
    }
    assert_nothing_left(&before);
}

/// A fault of ours in the middle of a run.
struct Panics;

#[async_trait::async_trait]
impl RunOutput for Panics {
    async fn write(&mut self, _stream: OutputStream, _bytes: bytes::Bytes) -> std::io::Result<()> {
        panic!("on purpose")
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_of_ours_while_a_command_runs_leaves_nothing() {
    let _turn = TURN.lock().await;
    let Some(fixture) = fixture().await else { return };
    let spec = spec();
    let marks = Marks::new().descriptors().word(spec.name().as_str()).folder(fixture.runtime.path());
    let before = Snapshot::take(&marks);
    let registry = Registry::of(vec![Arc::new(fixture.backend)]);
    let request = RunRequest {
        backend: BackendRequest::Auto,
        spec,
        command: Command::new(["sh", "-c", "setsid sleep 1000 & echo; sleep 1000"]),
        output_limit: ByteSize::mib(1),
        began: Instant::now(),
    };
    let (_sender, signals) = tokio::sync::mpsc::channel(1);
    let running = tokio::spawn(async move {
        let io = RunIo { stdin: None, output: &mut Panics, signals };
        run(&registry, &request, io).await
    });
    assert!(running.await.expect_err("it panics").is_panic());
    let leaks = before.settled(SETTLE).await;
    assert!(leaks.is_empty(), "{}", describe(&leaks));
}
