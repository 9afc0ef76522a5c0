//! What a sandbox that waits holds of the host's memory, and what it holds with 64 MiB written to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Machine;
use super::course::{Figure, Step, Whose, words};
use super::prepared::{Prepared, leave, locked};
use super::running::Doing;
use crate::refusal::{Cause, Failure};
use crate::sandbox::client::Client;
use crate::sandbox::group;
use crate::sandbox::memory::{self, Held};
use crate::suite::record::{CHARGED, CHARGED_TOUCHED, PSS, PSS_TOUCHED, RSS};

/// Bytes by kind.
type Kinds = BTreeMap<String, u64>;

impl Machine {
    /// Of whom the figure is about; nothing where it is about no memory.
    pub(super) fn memory(
        &self,
        doing: Doing<'_>,
        prepared: &Prepared,
        said: &[u8],
    ) -> Result<Kinds, Failure> {
        let refused = |cause| doing.refused(cause);
        let pids = match &prepared.course.figure {
            Figure::MemoryOfThose => locked(&prepared.stayed).iter().map(Client::pid).collect(),
            Figure::MemoryOf(whose) => vec![self.first_process(doing, whose, said)?],
            _ => return Ok(Kinds::new()),
        };
        let idle = held(&pids).map_err(refused)?;
        let mut kinds = Kinds::from([(PSS.to_owned(), idle.pss_bytes), (RSS.to_owned(), idle.rss_bytes)]);
        kinds.extend(charged(&pids).map(|bytes| (CHARGED.to_owned(), bytes)));
        if let Some(hold) = &prepared.course.hold {
            let holder = self.stay(doing, hold, prepared.course.by_daemon)?;
            // Where nothing can be started into a sandbox, the one that holds is another.
            let is_another = prepared.course.figure == Figure::MemoryOfThose;
            let pids = if is_another { vec![holder.pid()] } else { pids };
            let (touched, charged) = (held(&pids), charged(&pids));
            leave(holder).map_err(|why| doing.failed(why))?;
            kinds.insert(PSS_TOUCHED.to_owned(), touched.map_err(refused)?.pss_bytes);
            kinds.extend(charged.map(|bytes| (CHARGED_TOUCHED.to_owned(), bytes)));
        }
        Ok(kinds)
    }

    /// The sandbox's own first process.
    pub(super) fn first_process(&self, doing: Doing<'_>, whose: &Whose, said: &[u8]) -> Result<u32, Failure> {
        let found = match whose {
            Whose::Pid(place) => number(&json(said), place),
            Whose::Container(engine, place) => {
                let json = json(said);
                let name = json.pointer(place).and_then(Value::as_str).unwrap_or_default();
                let words = words(["container", "inspect", &format!("agentkernel-{name}")]);
                let look = Step::quiet("look", [engine.clone(), words].concat());
                let (run, _) = self.run(doing, &look, false)?;
                number(&self::json(&run.stdout), CONTAINER_PID)
            }
        };
        found.ok_or_else(|| doing.refused(Cause::Incredible { why: "it does not tell its process".into() }))
    }
}

/// Where an engine tells the process of a container.
pub const CONTAINER_PID: &str = "/0/State/Pid";

fn json(said: &[u8]) -> Value {
    serde_json::from_slice(said).unwrap_or_default()
}

fn number(json: &Value, place: &str) -> Option<u32> {
    let number = json.pointer(place)?.as_u64()?;
    u32::try_from(number).ok().filter(|pid| *pid > 0)
}

/// What the processes of these groups hold.
fn held(pids: &[u32]) -> Result<Held, Cause> {
    let failed = |why: String| Cause::Incredible { why };
    let groups = pids.iter().map(|pid| group::processes_with(*pid)).collect::<std::io::Result<Vec<_>>>();
    let groups = groups.map_err(|why| failed(why.to_string()))?;
    let processes: BTreeSet<u32> = groups.into_iter().flatten().collect();
    memory::held(&processes).map_err(failed)
}

/// What their group is charged with, by version 2 or 1; `None` where it is nobody's own.
fn charged(pids: &[u32]) -> Option<u64> {
    let [pid] = pids else { return None };
    if !group::is_own(*pid) {
        return None;
    }
    let files = ["memory.current", "memory.usage_in_bytes"];
    files.iter().find_map(|name| group::file_with(*pid, name))?.parse().ok()
}
