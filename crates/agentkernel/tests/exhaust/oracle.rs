//! What decides: a sibling that answers, and a host that has lost no more than the attacker was given.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentkernel_core::{Command, ExitStatus, Sandbox};
use agentkernel_testkit::{TestEnvironment, listen};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::attacks::flood_mib;
use crate::host;

/// The sibling answers before this, or it does not answer. Alone, it takes some milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often the sibling must have answered during an attack.
pub const ROUNDS_MIN: usize = 5;

/// What may change while others use the host: half of what an attack wants to have.
fn slack_mib() -> u64 {
    flood_mib() / 2
}

/// More processes, and more open files, than others begin within seconds.
const SLACK_COUNT: u64 = 2_000;

/// Likewise for files. An attack wants to make 400,000.
const SLACK_INODES: u64 = 100_000;

/// A line of `/proc/meminfo`.
pub fn memory_mib(line: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("readable");
    let kib =
        text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    kib.expect("in every kernel").parse::<u64>().expect("a number") / 1024
}

/// What the host has.
struct Host {
    available_mib: u64,
    processes: u64,
    open_files: u64,
    places: Vec<(&'static str, rustix::fs::StatVfs)>,
}

impl Host {
    fn look() -> Self {
        let open_files = fs::read_to_string("/proc/sys/fs/file-nr").expect("readable");
        let places = ["/", "/tmp", "/var/tmp", "/dev/shm", "/run"];
        Self {
            available_mib: memory_mib("MemAvailable"),
            processes: host::processes().count() as u64,
            open_files: open_files
                .split_whitespace()
                .next()
                .and_then(|one| one.parse().ok())
                .expect("a number"),
            places: places
                .iter()
                .filter_map(|place| Some((*place, rustix::fs::statvfs(*place).ok()?)))
                .collect(),
        }
    }

    /// What the host lacks beyond what the attacker was given, the most that was seen of each.
    fn note_losses(&self, before: &Self, given: &Given, losses: &mut Losses) {
        let mut bounded = |what: &str, lost: u64, given: u64, slack: u64| {
            if lost > given + slack {
                let most =
                    losses.entry(format!("{what} are gone, where {given} were given away")).or_default();
                *most = lost.max(*most);
            }
        };
        let memory = before.available_mib.saturating_sub(self.available_mib);
        bounded("MiB of memory", memory, given.memory_mib, slack_mib());
        bounded("processes", self.processes.saturating_sub(before.processes), given.pids, SLACK_COUNT);
        bounded(
            "open files",
            self.open_files.saturating_sub(before.open_files),
            given.open_files,
            SLACK_COUNT,
        );
        for ((place, now), (_, then)) in self.places.iter().zip(&before.places) {
            let lost_mib = (then.f_bfree.saturating_sub(now.f_bfree) * now.f_frsize) >> 20;
            bounded(&format!("MiB of {place}"), lost_mib, 0, slack_mib());
            bounded(&format!("inodes of {place}"), then.f_ffree.saturating_sub(now.f_ffree), 0, SLACK_INODES);
        }
    }
}

/// What the attacker may use.
pub struct Given {
    pub memory_mib: u64,
    pub pids: u64,
    pub open_files: u64,
}

/// Watches the host and a sibling during one attack.
pub struct Oracle<'a> {
    sibling: &'a dyn Sandbox,
    /// First process of the attacked sandbox.
    init: i32,
    given: Given,
    environment: TestEnvironment,
    before: Host,
}

/// Numbers by what they count.
type Losses = BTreeMap<String, u64>;

/// What was seen.
#[derive(Default)]
pub struct Seen {
    losses: Losses,
    failures: Vec<String>,
    answers: usize,
}

impl Seen {
    pub fn complaints(&self) -> Vec<String> {
        let losses = self.losses.iter().map(|(what, lost)| format!("{lost} {what}"));
        losses.chain(self.failures.iter().cloned()).collect()
    }
}

impl<'a> Oracle<'a> {
    pub fn new(sibling: &'a dyn Sandbox, init: i32, given: Given) -> Self {
        Self { sibling, init, given, environment: TestEnvironment::new(), before: Host::look() }
    }

    /// Looks again and again until the attack is over and the sibling has answered often enough; tells
    /// every round.
    pub async fn watch(&self, is_over: &AtomicBool, rounds: &watch::Sender<usize>) -> Seen {
        let mut seen = Seen::default();
        while !is_over.load(Ordering::Relaxed) || seen.answers < ROUNDS_MIN {
            self.look(&mut seen);
            if let Err(why) = self.ask().await {
                seen.failures.push(why);
                break;
            }
            seen.answers += 1;
            rounds.send_replace(seen.answers);
        }
        // Whoever waits for rounds waits no longer.
        rounds.send_replace(usize::MAX);
        seen
    }

    fn look(&self, seen: &mut Seen) {
        let inside = host::processes_beside(self.init).len() as u64;
        if inside > self.given.pids {
            let what = format!("processes are inside, where {} may be", self.given.pids);
            let most = seen.losses.entry(what).or_default();
            *most = inside.max(*most);
        }
        Host::look().note_losses(&self.before, &self.given, &mut seen.losses);
    }

    /// The sibling answers, and the host can start a process.
    async fn ask(&self) -> Result<(), String> {
        answer_time(self.sibling).await.map_err(|why| format!("the sibling: {why}"))?;
        self.fork().map_err(|why| format!("the host cannot start a process: {why}"))
    }

    fn fork(&self) -> std::io::Result<()> {
        let mut command = self.environment.command("/bin/true");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?.wait()?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
    }
}

/// How long a sandbox takes to run `/bin/true`.
pub async fn answer_time(sandbox: &dyn Sandbox) -> Result<Duration, String> {
    let began = Instant::now();
    match answer(sandbox).await? {
        status if status.is_success() => Ok(began.elapsed()),
        status => Err(status.to_string()),
    }
}

/// How `/bin/true` ends in a sandbox.
pub async fn answer(sandbox: &dyn Sandbox) -> Result<ExitStatus, String> {
    let run = async { listen(sandbox.exec(&Command::new(["/bin/true"])).await?).await };
    match timeout(DEADLINE, run).await {
        Ok(Ok(said)) => Ok(said.exited.status),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {DEADLINE:?}")),
    }
}
