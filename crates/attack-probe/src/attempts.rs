//! Every attempt, by group, in the order in which `--all` runs them.

mod channel;
mod devices;
mod files;
mod interfaces;
mod kernel_files;
mod leaks;
mod limits;
mod mounts;
mod namespaces;
mod neighbours;
mod privilege;
mod signals;
mod sockets;
mod syscalls;
mod terminal;
mod writes;

use crate::attempt::Attempt;

/// Group and attempts. Signals come last: one of them may be the end of the sandbox.
const GROUPS: &[(&str, &[Attempt])] = &[
    ("files", files::ATTEMPTS),
    ("writes", writes::ATTEMPTS),
    ("mounts", mounts::ATTEMPTS),
    ("devices", devices::ATTEMPTS),
    ("kernel-files", kernel_files::ATTEMPTS),
    ("syscalls", syscalls::ATTEMPTS),
    ("namespaces", namespaces::ATTEMPTS),
    ("sockets", sockets::ATTEMPTS),
    ("terminal", terminal::ATTEMPTS),
    ("privilege", privilege::ATTEMPTS),
    ("leaks", leaks::ATTEMPTS),
    ("neighbours", neighbours::ATTEMPTS),
    ("channel", channel::ATTEMPTS),
    ("limits", limits::ATTEMPTS),
    ("signals", signals::ATTEMPTS),
];

/// Every attempt with the name of its group.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Attempt)> {
    GROUPS.iter().flat_map(|(group, attempts)| attempts.iter().map(|attempt| (*group, attempt)))
}

/// The attempt of that name.
pub fn find(id: &str) -> Option<&'static Attempt> {
    all().map(|(_, attempt)| attempt).find(|attempt| attempt.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_in_kebab_case() {
        let mut ids: Vec<&str> = all().map(|(_, attempt)| attempt.id).collect();
        let is_kebab =
            |id: &&str| id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(ids.iter().all(is_kebab), "{ids:?}");
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn no_errno_proves_both() {
        for (_, attempt) in all() {
            assert!(!attempt.granted.iter().any(|errno| attempt.refused.contains(errno)), "{}", attempt.id);
        }
    }
}
