//! Who made a container, in its labels: only what is ours is ever touched, and only after its owner's death.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

/// Label with the sandbox's name; whatever lacks it is not ours.
pub(crate) const SANDBOX: &str = "agentkernel.sandbox";
/// Label with the folder of the program that made it.
pub(crate) const HOME: &str = "agentkernel.home";
/// Label with the process that made it.
pub(crate) const OWNER: &str = "agentkernel.owner";

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
    /// Ours, and its owner is gone.
    Abandoned,
}

/// Judges a container by its labels.
pub(crate) fn whose(labels: &Value, this: &Owner) -> Whose {
    if labels[SANDBOX].as_str().is_none() {
        return Whose::Foreign;
    }
    match labels[OWNER].as_str().and_then(Owner::parse) {
        Some(owner) if owner.is_gone(this) => Whose::Abandoned,
        _ => Whose::Held,
    }
}

/// The labels of a container of ours.
pub(crate) fn labels(name: &str, home: &str, owner: &Owner) -> BTreeMap<&'static str, String> {
    [(SANDBOX, name.to_owned()), (HOME, home.to_owned()), (OWNER, owner.label())].into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_ours_and_abandoned_for_certain_is_abandoned() {
        let this = Owner::this().expect("a process");
        let judged = |owner: &Owner| whose(&json!(labels("a", "/home", owner)), &this);
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
}
