//! What the processes of a sandbox hold of the host's memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Of all processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Proportional: a page that several processes share counts for each of them in part.
    pub pss_bytes: u64,
    /// Resident: such a page counts for each of them in full.
    pub rss_bytes: u64,
    /// How many processes.
    pub processes: usize,
    /// How many others run a program that one of these runs, and so share its pages.
    pub sharers: usize,
}

/// Adds up all of them. One that is missing or says nothing makes the sum worthless.
pub fn held(processes: &BTreeSet<u32>) -> Result<Held, String> {
    if processes.is_empty() {
        return Err("no process is in the sandbox's control group".into());
    }
    let mut sum = Held::default();
    for pid in processes {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|why| format!("{path}: {why}"))?;
        let one = parse(&text).ok_or_else(|| format!("{path}: it has no Pss or no Rss"))?;
        sum.pss_bytes += one.pss_bytes;
        sum.rss_bytes += one.rss_bytes;
        sum.processes += 1;
    }
    sum.sharers = sharers(processes);
    if sum.pss_bytes == 0 { Err("the processes hold nothing".into()) } else { Ok(sum) }
}

fn sharers(processes: &BTreeSet<u32>) -> usize {
    let programs: BTreeSet<(u64, u64)> = processes.iter().filter_map(|pid| program(*pid)).collect();
    let everybody = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = everybody.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = numbers.filter(|pid| !processes.contains(pid));
    others.filter_map(program).filter(|program| programs.contains(program)).count()
}

/// The file that a process executes: its device and number.
fn program(pid: u32) -> Option<(u64, u64)> {
    let facts = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((facts.dev(), facts.ino()))
}

fn parse(text: &str) -> Option<Held> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Held { pss_bytes: field("Pss:")?, rss_bytes: field("Rss:")?, processes: 1, sharers: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_up_is_read_and_one_without_its_figures_is_nothing() {
        let text =
            "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    12 kB\nPss:    7 kB\nPss_Dirty:  1 kB\n";
        assert_eq!(parse(text), Some(Held { pss_bytes: 7168, rss_bytes: 12_288, processes: 1, sharers: 0 }));
        assert_eq!(parse("Rss: 12 kB\n"), None);
    }

    #[test]
    fn nobody_holds_nothing_and_that_is_an_error() {
        assert!(held(&BTreeSet::new()).is_err());
        assert!(held(&BTreeSet::from([u32::MAX])).is_err());
        assert!(held(&BTreeSet::from([std::process::id()])).expect("we hold something").pss_bytes > 4096);
    }

    #[test]
    fn who_runs_the_same_program_is_counted_and_who_is_measured_is_not() {
        let sleeper = || {
            let program = agentkernel_process::Program::new(std::path::Path::new("/bin/sleep"));
            program.expect("absolute").argument("1000").spawn_attended(&[]).expect("spawned")
        };
        let (measured, other) = (sleeper(), sleeper());
        let both = sharers(&BTreeSet::from([measured.pid(), other.pid()]));
        let one = sharers(&BTreeSet::from([measured.pid()]));
        // Others of the machine may run it, too, and come and go.
        assert!(one > 0, "{one} share with one, {both} with both");
        assert_eq!(sharers(&BTreeSet::new()), 0);
    }
}
