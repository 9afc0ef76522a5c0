//! The fixed work that each target does for a benchmark, and what it says when it is done.

use std::path::{Path, PathBuf};

use super::Site;
use super::course::{Brought, Course, Missing, Says, Step, words};
use crate::plan::Metric;
use crate::sandbox::Source;
use crate::suite::Benchmark;
use crate::workload::{self, work_of};

/// Where the program is that does the work, in the folder of the run.
const PROGRAM: &str = "workload";
/// E2B's client, which does by orders what is measured of its server.
const E2B_DRIVER: &str = include_str!("e2b_driver.py");
/// Where it is.
const E2B_FILE: &str = "e2b_driver.py";
/// Where the Wasm module is that says a word.
const MODULE: &str = "say.wat";
/// The file that is copied, and the folder.
const FILE: &str = "file";
const TREE: &str = "tree";

/// Bytes of the file that is copied: 100 MB.
pub const COPIED_BYTES: usize = 100_000_000;
/// Files in the folder that is copied.
pub const COPIED_FILES: u64 = 10_000;
/// Bytes of each.
const TREE_FILE_BYTES: usize = 1024;

/// The program that does the work, on the host.
#[must_use]
pub fn program(site: &Site) -> PathBuf {
    site.work.join(PROGRAM)
}

/// The program that speaks to an E2B server.
#[must_use]
pub fn e2b_driver(site: &Site) -> PathBuf {
    site.work.join(E2B_FILE)
}

/// A root folder as raw runtimes have it.
#[must_use]
pub fn raw_root(site: &Site) -> PathBuf {
    site.work.join("raw-root")
}

/// The module that says its first word.
#[must_use]
pub fn module(site: &Site) -> PathBuf {
    site.work.join(MODULE)
}

/// What is copied: one large file, and a folder of small ones.
#[must_use]
pub fn copied(site: &Site) -> (PathBuf, PathBuf) {
    (site.work.join(FILE), site.work.join(TREE))
}

/// Writes what every run needs.
pub fn stage(site: &Site) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(program(site), workload::PROGRAM)?;
    std::fs::set_permissions(program(site), std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(e2b_driver(site), E2B_DRIVER)?;
    let busybox = agentkernel_process::locate("busybox", &site.folders);
    busybox.map_or(Source::Bare, Source::Busybox).stage(&raw_root(site))?;
    std::fs::write(module(site), workload::MODULE)
}

/// Writes what is copied, different in each run.
pub fn stage_copied(site: &Site) -> std::io::Result<()> {
    let (file, tree) = copied(site);
    let mut bytes = vec![0; site.copied_bytes];
    workload::fill(site.seed, 0, &mut bytes);
    std::fs::write(file, &bytes)?;
    std::fs::create_dir_all(&tree)?;
    (0..site.copied_files)
        .zip(bytes.chunks(TREE_FILE_BYTES))
        .try_for_each(|(number, bytes)| std::fs::write(tree.join(format!("{number:05}")), bytes))
}

/// What is copied in and out again: `inside` names a place of the sandbox, `cp` is the tool's word for it.
pub fn copying(
    site: &Site,
    who: &str,
    inside: &dyn Fn(&str) -> String,
    cp: &dyn Fn(&str, &str) -> Vec<String>,
) -> Course {
    let (file, tree) = copied(site);
    let back = |name: &str| site.work.join(format!("{who}-{name}"));
    let sent = |path: &Path| path.display().to_string();
    let step = |part, from: &str, to: &str| Step::quiet(part, cp(from, to));
    Course {
        timed: vec![
            step("in", &sent(&file), &inside(FILE)),
            step("out", &inside(FILE), &sent(&back(FILE))),
            step("tree_in", &sent(&tree), &inside(TREE)),
            step("tree_out", &inside(TREE), &sent(&back(TREE))),
        ],
        brings: vec![Brought { to: back(FILE), like: file }, Brought { to: back(TREE), like: tree }],
        ..Course::default()
    }
}

/// What holds 64 MiB inside.
pub fn holding(site: &Site, program: &str) -> Vec<String> {
    words([program, "hold", &site.token])
}

/// The benchmark by the program at `program`, which may write to `folder`; `around` puts the sandbox's words around it.
pub fn inside(
    benchmark: Benchmark,
    site: &Site,
    program: &Path,
    folder: &str,
    around: &dyn Fn(Vec<String>) -> Vec<String>,
) -> Result<Course, Missing> {
    let seed = site.seed.to_string();
    let (verb, says) = match benchmark {
        Benchmark::Output => {
            let words = words([&program.display().to_string(), "flood", &seed]);
            let timed = vec![Step { part: "output", words: around(words), says: Says::Flood }];
            return Ok(Course { timed, ..Course::default() });
        }
        Benchmark::Cpu => {
            let work = work_of(Metric::Cpu, site.seed);
            (vec!["loop", &seed], work.says.unwrap_or_default().trim_end().to_owned())
        }
        Benchmark::Syscalls => (vec!["syscalls", &site.token], workload::system_calls_say(&site.token)),
        Benchmark::Io => (vec!["file", folder, &seed], workload::file_says(site.seed)),
        other => return Err(format!("{} is not done inside", other.key()).into()),
    };
    let program = program.display().to_string();
    let words = std::iter::once(program).chain(verb.into_iter().map(str::to_owned)).collect();
    Ok(Course::inside(around(words), &says))
}
