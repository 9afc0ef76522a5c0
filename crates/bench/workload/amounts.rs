//! What is known both inside, where the work is done, and outside, where its results are predicted.

/// Rounds of the integer loop: some tenths of a second on any processor of these years.
pub const LOOP_ROUNDS: u64 = 100_000_000;

/// Knuth's multiplier for 64 bits: each round of the loop needs the one before, so that none can be skipped.
pub const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
/// Its odd summand.
pub const SUMMAND: u64 = 1_442_695_040_888_963_407;

/// How often the whole tree is walked.
pub const TREE_WALKS: u64 = 10;

/// A folder that everybody may write to, unless all of the root file system is read-only.
pub const OPEN_FOLDER: &str = "/agentkernel-bench-open";

/// How often the cheapest system call is made.
pub const GETPIDS: u64 = 100_000;
/// How often a path is looked at.
pub const STATS: u64 = 10_000;
/// How often a file is opened, read and closed.
pub const READS: u64 = 5_000;
/// What is read of it each time, bytes: one page.
pub const READ_BYTES: usize = 4096;
/// How many programs are started, one after the other.
pub const STARTS: u64 = 50;

/// How many blocks are written and read.
pub const IO_BLOCKS: u64 = 64;
/// The size of each, bytes.
pub const IO_BLOCK_BYTES: usize = 1 << 20;

/// How many blocks a flood of output has.
pub const FLOOD_BLOCKS: u64 = 100;
/// The size of each, bytes: 100 MB together.
pub const FLOOD_BLOCK_BYTES: usize = 1_000_000;

/// What is held of memory while it is measured, every page of it written, bytes.
pub const HELD_BYTES: usize = 64 << 20;
