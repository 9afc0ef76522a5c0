//! The bare host: what the same work costs without any sandbox.

use super::course::{Course, Crowd, Doer, Figure, Missing, Setup, Step, words};
use super::proving::Proving;
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
                let program = program.display().to_string();
                let idle = words([&program, "idle", &site.token]);
                Ok(Course {
                    before: vec![Setup::Stay(idle.clone())],
                    figure: Figure::MemoryOfThose,
                    crowd: Some(Crowd::Staying(idle)),
                    hold: Some(work::holding(site, &program)),
                    ..Course::default()
                })
            }
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io | Benchmark::Output => {
                work::inside(benchmark, site, &program, &site.work.display().to_string(), &|words| words)
            }
            Benchmark::Copy => copy(site),
            _ => Ok(Course::one(words([&site.host_program("echo")?, &site.token]), site)),
        }
    }

    fn proof(&self, _: &Site) -> Result<Proving, Missing> {
        Err("it is no sandbox".into())
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
