//! A process of the host's that is in one namespace of a sandbox, and recorded as another sandbox.

use std::process::Child;
use std::time::{Duration, Instant};

use agentkernel_core::SandboxName;
use agentkernel_oci::{Init, Record, RuntimeDir};
use agentkernel_testkit::{TestEnvironment, random_u64, tool_or_skip};
use rustix::process::{Pid, Signal, kill_process};

use super::intruder::ENTER;
use crate::host;
use crate::support::runtime_below;

/// How long `nsenter` may take until it is inside.
const DEADLINE: Duration = Duration::from_secs(20);

/// It lives until this is dropped.
pub struct Sibling {
    /// Where it is recorded, and nobody else.
    pub runtime: RuntimeDir,
    environment: TestEnvironment,
    /// `nsenter`, which for a PID namespace starts a child that is inside, and is not inside itself.
    nsenter: Child,
    inside: Option<i32>,
}

impl Sibling {
    /// Starts one in the namespace of this kind, or skips loudly where `nsenter` is missing.
    pub async fn sharing(kind: &str, with: &Record) -> Option<Self> {
        let program = tool_or_skip("nsenter")?;
        let environment = TestEnvironment::new();
        let option = &format!("--{kind}");
        let init = host::init_of(with).pid;
        let mut command = environment.command(program);
        command.args(["--target", &init.to_string(), option, "sleep", "1000"]);
        if kind == "mnt" {
            // There may be no program in it: this one has all that it needs before.
            command = environment.command(tool_or_skip("python3")?);
            let program = format!("{ENTER}\ntime.sleep(1000)");
            command.args(["-c", &program, &init.to_string(), kind]);
        }
        let nsenter = command.spawn().expect("nsenter starts");
        let runtime = runtime_below(environment.root());
        let mut sibling = Self { runtime, environment, nsenter, inside: None };
        let pid = sibling.arrival(kind, init).await;
        sibling.inside = Some(pid);
        sibling.record(with, pid);
        Some(sibling)
    }

    async fn arrival(&self, kind: &str, init: i32) -> i32 {
        let wanted = host::namespace(init, kind).expect("the sandbox lives");
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            let own = i32::try_from(self.nsenter.id()).expect("a PID");
            let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
            let children = children.unwrap_or_default();
            let mut family = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([own]);
            if let Some(pid) = family.find(|pid| host::namespace(*pid, kind).as_ref() == Some(&wanted)) {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nsenter did not enter the {kind} namespace");
    }

    /// As whoever boots a sandbox does.
    fn record(&self, like: &Record, pid: i32) {
        let mut record = like.clone();
        record.name = SandboxName::from_random(random_u64());
        record.cgroup = None;
        record.init = process(pid);
        let folder = self.environment.root().join("run/sandboxes");
        std::fs::create_dir_all(&folder).expect("made");
        let text = serde_json::to_vec(&record).expect("JSON");
        std::fs::write(folder.join(format!("{}.json", record.name)), text).expect("written");
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        // Both may be gone with the sandbox: then there is nothing to kill.
        if let Some(pid) = self.inside.and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
        self.nsenter.kill().ok();
        self.nsenter.wait().ok();
    }
}

/// The process that has this PID now, as records name it.
pub fn process(pid: i32) -> Option<Init> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): after the name in brackets the third field follows, and the start is the 22nd.
    let start_ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(Init { pid, start_ticks })
}
