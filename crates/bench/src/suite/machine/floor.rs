//! The bare host: what the same work costs without any sandbox.

use super::course::{Brought, Course, Doer, Figure, Missing, Setup, Step, words};
use super::{Site, work};
use crate::suite::Benchmark;

/// Its name among the targets.
pub const HOST: &str = "host";

/// The host's own fork and exec of the same command.
#[derive(Debug)]
pub struct Floor;

impl Doer for Floor {
    fn course(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        let program = work::program(site);
        match benchmark {
            Benchmark::Phases => Err("it tells no phases".into()),
            Benchmark::Fork => Err("a process of the host is no sandbox".into()),
            Benchmark::Memory => {
                let idle = words([&program.display().to_string(), "idle", &site.token]);
                let figure = Figure::MemoryOfThose;
                Ok(Course { before: vec![Setup::Stay(idle)], figure, ..Course::default() })
            }
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io => {
                work::inside(benchmark, site, &program, &site.work.display().to_string(), &|words| words)
            }
            Benchmark::Copy => copy(site),
            _ => Ok(Course::one(words([&site.host_program("echo")?, &site.token]), site)),
        }
    }

    fn is_others(&self) -> bool {
        false
    }
}

/// The same bytes from one place of the host to another.
fn copy(site: &Site) -> Result<Course, Missing> {
    let cp = site.host_program("cp")?;
    let rm = site.host_program("rm")?;
    let (file, tree) = work::copied(site);
    let at = |name: &str| site.work.join(name).display().to_string();
    let step = |part, from: &str, to: &str| Step::quiet(part, words([&cp, "-r", from, to]));
    let (file_in, file_out, tree_in, tree_out) =
        (at("host-file-in"), at("host-file-out"), at("host-tree-in"), at("host-tree-out"));
    Ok(Course {
        timed: vec![
            step("in", &file.display().to_string(), &file_in),
            step("out", &file_in, &file_out),
            step("tree_in", &tree.display().to_string(), &tree_in),
            step("tree_out", &tree_in, &tree_out),
        ],
        between: vec![Step::quiet("rm", words([&rm, "-rf", &file_in, &tree_in]))],
        brings: vec![
            Brought { to: file_out.into(), like: file },
            Brought { to: tree_out.into(), like: tree },
        ],
        ..Course::default()
    })
}
