//! What runs inside, and what it must say: predicted here, so that work left undone is seen.

#[path = "../workload/amounts.rs"]
#[expect(dead_code, reason = "what only the work itself needs")]
mod amounts;
#[path = "../workload/blocks.rs"]
mod blocks;
mod flood;

pub use amounts::OPEN_FOLDER;
use amounts::{
    GETPIDS, IO_BLOCK_BYTES, IO_BLOCKS, LOOP_ROUNDS, MULTIPLIER, READ_BYTES, READS, STARTS, STATS,
};
use amounts::{SUMMAND, TREE_WALKS};
pub use blocks::fill;
pub use flood::Flood;

use std::collections::BTreeMap;

use crate::plan::Metric;

/// The program, static, as the build script made it.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/workload"));

/// A Wasm module that says its first word.
pub const MODULE: &str = include_str!("../workload/say.wat");

/// Where it is inside.
pub const PLACE: &str = "/agentkernel-bench-workload";

/// The tree that is walked, inside.
pub const TREE: &str = "/agentkernel-bench-tree";
/// Folders of the tree.
pub const TREE_FOLDERS: u64 = 20;
/// Files in each of them, of 0, 1, 2 … bytes.
pub const TREE_FILES: u64 = 50;

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Its words, the program first.
    pub words: Vec<String>,
    /// All that it says when it is done; of work that only tells facts, nothing is known beforehand.
    pub says: Option<String>,
    /// Whether it waits for the end of its input, so that it can be looked at meanwhile.
    pub waits: bool,
    /// Whether it tells how long it took by the clock inside.
    pub is_timed: bool,
}

/// The work of a metric. What the seed of the run changes in it is known to nobody before the run.
#[must_use]
pub fn work_of(metric: Metric, seed: u64) -> Work {
    let token = format!("ready-{seed:016x}");
    let tree_walked = format!("{} {}", TREE_WALKS * tree_entries(), TREE_WALKS * tree_bytes());
    let (verb, word, says) = match metric {
        Metric::ColdStart | Metric::WarmStart => ("print", token.clone(), token),
        Metric::Memory => ("idle", token.clone(), token),
        Metric::Cpu => ("loop", seed.to_string(), loop_result(LOOP_ROUNDS, seed).to_string()),
        Metric::Walk => ("walk", TREE.to_owned(), tree_walked),
    };
    Work {
        words: vec![PLACE.to_owned(), verb.to_owned(), word],
        says: Some(format!("{says}\n")),
        waits: metric == Metric::Memory,
        is_timed: matches!(metric, Metric::Cpu | Metric::Walk),
    }
}

/// The work that tells what it sees of its confinement.
#[must_use]
pub fn facts() -> Work {
    let words = vec![PLACE.to_owned(), "facts".to_owned()];
    Work { words, says: None, waits: true, is_timed: false }
}

fn tree_entries() -> u64 {
    TREE_FOLDERS * (TREE_FILES + 1)
}

fn tree_bytes() -> u64 {
    TREE_FOLDERS * (0..TREE_FILES).sum::<u64>()
}

/// How often the work of this metric looks at something, for a person.
#[must_use]
pub fn amount_of(metric: Metric) -> String {
    match metric {
        Metric::ColdStart | Metric::WarmStart => "one word printed".into(),
        Metric::Memory => "one word printed, then waiting".into(),
        Metric::Cpu => format!("{LOOP_ROUNDS} rounds of a 64-bit multiplication and addition"),
        Metric::Walk => format!("{} stats in {} folders", TREE_WALKS * tree_entries(), TREE_FOLDERS + 1),
    }
}

/// The loop's result, by doubling: a round is an affine map, and so are two, four, eight rounds.
fn loop_result(mut rounds: u64, start: u64) -> u64 {
    let mut value = start;
    let (mut factor, mut summand) = (MULTIPLIER, SUMMAND);
    while rounds > 0 {
        if rounds & 1 == 1 {
            value = value.wrapping_mul(factor).wrapping_add(summand);
        }
        summand = summand.wrapping_mul(factor).wrapping_add(summand);
        factor = factor.wrapping_mul(factor);
        rounds >>= 1;
    }
    value
}

/// What many system calls say when each of them was right.
#[must_use]
pub fn system_calls_say(word: &str) -> String {
    format!("{word} {GETPIDS} {STATS} {} {STARTS}", READS * READ_BYTES as u64)
}

/// What the file says that was written and read.
#[must_use]
pub fn file_says(seed: u64) -> String {
    let mut block = vec![0; IO_BLOCK_BYTES];
    let sum = (0..IO_BLOCKS).fold(0, |sum, number| {
        blocks::fill(seed, number, &mut block);
        blocks::add(sum, &block)
    });
    sum.to_string()
}

/// What the work says of its parts, nanoseconds.
#[must_use]
pub fn parts_ns(stderr: &str) -> BTreeMap<String, u64> {
    let parts = stderr.lines().filter_map(|line| line.trim().strip_prefix("workload part ")?.split_once('='));
    parts.filter_map(|(name, ns)| Some((name.to_owned(), ns.parse().ok()?))).collect()
}

/// What the work says of its own time, if it says it.
#[must_use]
pub fn inside_ns(stderr: &str) -> Option<u64> {
    let said = stderr.lines().find_map(|line| line.trim().strip_prefix("workload inside_ns="))?;
    said.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predicted_loop_is_the_loop_itself() {
        for rounds in [0, 1, 2, 3, 1000, 12_345] {
            let mut value = 42_u64;
            for _ in 0..rounds {
                value = value.wrapping_mul(MULTIPLIER).wrapping_add(SUMMAND);
            }
            assert_eq!(loop_result(rounds, 42), value, "{rounds} rounds");
        }
    }

    #[test]
    fn what_the_program_says_of_files_and_calls_is_predicted() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("workload");
        std::fs::write(&program, PROGRAM).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("executable");
        let said = |words: &[&str]| {
            let order = agentkernel_process::Program::new(&program).expect("absolute");
            let order = words.iter().fold(order, |order, word| order.argument(word));
            order.output(std::time::Duration::from_secs(60)).expect("done")
        };
        assert_eq!(said(&["syscalls", "x"]).lines().next_back(), Some(system_calls_say("x").as_str()));
        let place = folder.path().display().to_string();
        let (file, other) = (said(&["file", &place, "7"]), said(&["file", &place, "8"]));
        assert_eq!(file.lines().next_back(), Some(file_says(7).as_str()));
        assert_ne!(file_says(7), file_says(8));
        assert_eq!(other.lines().next_back(), Some(file_says(8).as_str()));
        assert_eq!(parts_ns(&file).keys().collect::<Vec<_>>(), ["read", "write"]);
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("read").collect();
        assert_eq!(left.len(), 1, "the file is gone");
    }

    #[test]
    fn the_time_inside_is_found_among_other_words() {
        assert_eq!(inside_ns("a warning\nworkload inside_ns=17\n"), Some(17));
        assert_eq!(inside_ns("workload inside_ns=x"), None);
        assert_eq!(inside_ns(""), None);
    }
}
