//! Who made a container, in its labels: only what is ours is ever touched, and only after its owner's death.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Label with the sandbox's name; whatever lacks it is not ours.
pub(crate) const SANDBOX: &str = "agentkernel.sandbox";
/// Label with the folder of the program that made it.
pub(crate) const HOME: &str = "agentkernel.home";
/// Label with the process that made it.
pub(crate) const OWNER: &str = "agentkernel.owner";
/// Label with a number that no other container of that process has.
pub(crate) const CLAIM: &str = "agentkernel.claim";

/// Numbers of the containers that this process makes or has.
static CLAIMS: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

fn claims() -> MutexGuard<'static, BTreeSet<u64>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a backend has lost: its engine ended, or fell silent, while a container was made or removed.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    has_reaped: AtomicBool,
    /// Names of such containers.
    names: Mutex<BTreeSet<String>>,
}

impl Lost {
    /// Whether a start has to look for what is left, and names of this process among it. Who asks sees to it.
    pub(crate) fn take(&self) -> Option<BTreeSet<String>> {
        let is_clean = self.has_reaped.swap(true, Ordering::Relaxed);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        (!is_clean).then(|| std::mem::take(&mut *names))
    }

    /// Has the next start look for one of this name.
    pub(crate) fn add(&self, name: String) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        self.has_reaped.store(false, Ordering::Relaxed);
    }
}

/// A container that this process makes or has. One that it does not claim any more was lost.
#[derive(Debug)]
pub(crate) struct Claim {
    number: u64,
    name: String,
    lost: Arc<Lost>,
}

impl Claim {
    /// A new one, of a container of this name.
    pub(crate) fn new(lost: &Arc<Lost>, name: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        claims().insert(number);
        Self { number, name, lost: lost.clone() }
    }

    /// Gives up a container that may be there for all we know. The next start looks for it.
    pub(crate) fn lose(mut self) {
        let (name, lost) = (std::mem::take(&mut self.name), self.lost.clone());
        drop(self);
        lost.add(name);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        claims().remove(&self.number);
    }
}

/// A process that cannot be mistaken for another that got its PID later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since the host's boot (proc(5), field 22 of stat).
    start_ticks: u64,
}

impl ProcessId {
    /// The process that has this PID now, unless it has ended and only waits to be fetched.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let start_ticks = fields.nth(18)?.parse().ok()?;
        (!is_dead).then_some(Self { pid, start_ticks })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The owner of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// One boot of one kernel.
    boot: String,
    /// In which numbers of processes mean something: a PID namespace.
    namespace: String,
    process: ProcessId,
}

impl Owner {
    /// This process. None where /proc does not tell.
    pub(crate) fn this() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.display().to_string();
        let process = ProcessId::of(i32::try_from(std::process::id()).ok()?)?;
        Some(Self { boot, namespace, process })
    }

    /// As a label.
    pub(crate) fn label(&self) -> String {
        format!("{} {} {} {}", self.boot, self.namespace, self.process.pid, self.process.start_ticks)
    }

    fn parse(label: &str) -> Option<Self> {
        let mut words = label.split(' ');
        let (boot, namespace) = (words.next()?.to_owned(), words.next()?.to_owned());
        let process =
            ProcessId { pid: words.next()?.parse().ok()?, start_ticks: words.next()?.parse().ok()? };
        Some(Self { boot, namespace, process })
    }

    /// Whether it is certain that it does not live any more, as seen by `this`.
    fn is_gone(&self, this: &Self) -> bool {
        // Processes of another PID namespace may live without our seeing them.
        self.boot != this.boot || (self.namespace == this.namespace && !self.process.is_alive())
    }
}

/// Whose a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Somebody else made it.
    Foreign,
    /// Ours, and its owner lives, or may live.
    Held,
    /// Ours, and its owner is gone; or it is this process, which has lost it.
    Abandoned,
}

/// Judges a container by its labels.
pub(crate) fn whose(labels: &Value, this: &Owner) -> Whose {
    if labels[SANDBOX].as_str().is_none() {
        return Whose::Foreign;
    }
    let is_lost = || {
        let number = labels[CLAIM].as_str().and_then(|number| number.parse().ok());
        number.is_some_and(|number: u64| !claims().contains(&number))
    };
    match labels[OWNER].as_str().and_then(Owner::parse) {
        Some(owner) if owner.is_gone(this) || (owner == *this && is_lost()) => Whose::Abandoned,
        _ => Whose::Held,
    }
}

/// The labels of a container of ours.
pub(crate) fn labels(name: &str, home: &str, owner: &Owner, claim: &Claim) -> BTreeMap<&'static str, String> {
    let number = claim.number.to_string();
    [(SANDBOX, name.to_owned()), (HOME, home.to_owned()), (OWNER, owner.label()), (CLAIM, number)].into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_ours_and_abandoned_for_certain_is_abandoned() {
        let this = Owner::this().expect("a process");
        let claim = Claim::new(&Arc::default(), "a".into());
        let judged = |owner: &Owner| whose(&json!(labels("a", "/home", owner, &claim)), &this);
        assert_eq!(judged(&this), Whose::Held);
        let later = ProcessId { start_ticks: this.process.start_ticks + 1, ..this.process };
        assert_eq!(judged(&Owner { process: later, ..this.clone() }), Whose::Abandoned, "a PID used again");
        let elsewhere = Owner { namespace: "pid:[1]".into(), process: later, ..this.clone() };
        assert_eq!(judged(&elsewhere), Whose::Held, "who knows");
        assert_eq!(judged(&Owner { boot: "earlier".into(), ..this.clone() }), Whose::Abandoned);
        assert_eq!(whose(&json!({"other": "label"}), &this), Whose::Foreign);
        assert_eq!(whose(&Value::Null, &this), Whose::Foreign);
        for garbled in ["", "a b", "a b c d", "a b -1 x"] {
            let labels = json!({SANDBOX: "a", OWNER: garbled});
            assert_eq!(whose(&labels, &this), Whose::Held, "{garbled:?}");
        }
    }
    #[test]
    fn what_this_process_has_lost_is_abandoned_and_what_another_has_not_lost_is_not() {
        let this = Owner::this().expect("a process");
        let lost = Arc::new(Lost::default());
        let (kept, claim) = (Claim::new(&lost, "kept".into()), Claim::new(&lost, "lost".into()));
        assert_eq!((lost.take(), lost.take()), (Some(BTreeSet::new()), None));
        let of = |claim: &Claim, owner: &Owner| json!(labels("a", "/home", owner, claim));
        let other = Owner { process: ProcessId::of(1).expect("it lives"), ..this.clone() };
        let (mine, others) = (of(&claim, &this), of(&claim, &other));
        assert_eq!(whose(&mine, &this), Whose::Held);
        claim.lose();
        assert_eq!((lost.take(), lost.take()), (Some(["lost".to_owned()].into()), None));
        assert_eq!((whose(&mine, &this), whose(&others, &this)), (Whose::Abandoned, Whose::Held));
        assert_eq!(whose(&of(&kept, &this), &this), Whose::Held);
    }
}
