//! The bare host: what the same work costs without any sandbox.

use super::course::{Course, Doer, Figure, Missing, Setup, Step, words};
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
    let (cp, rm) = (site.host_program("cp")?, site.host_program("rm")?);
    let inside = |name: &str| site.work.join(format!("host-{name}-inside")).display().to_string();
    let course = work::copying(site, HOST, &inside, &|from, to| words([&cp, "-r", from, to]));
    let removal = words([&rm, "-r", &inside("file"), &inside("tree")]);
    Ok(Course { between: vec![Step::quiet("rm", removal)], ..course })
}
