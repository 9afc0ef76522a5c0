//! Sandboxes of the daemon's that live, and what is done in them.

use super::{INSIDE, Ours, words_of};
use crate::suite::Benchmark;
use crate::suite::machine::course::{Course, Crowd, Figure, Missing, NAME, Setup, Step};
use crate::suite::machine::{Site, work};

/// Where it is where it had to be copied.
const COPIED: &str = "/workspace/agentkernel-bench-workload";
/// A place inside that can be written to.
const WRITABLE: &str = "/workspace";
/// More than the flood, which is more than is passed on unless it is asked for.
const FLOOD_LIMIT: &str = "1G";

impl Ours {
    /// A sandbox of the daemon's that lives for all samples.
    pub(super) fn living(&self, site: &Site, timed: Step) -> Course {
        Course {
            before: vec![Setup::Run(self.create(site, &self.name(), &[]))],
            timed: vec![timed],
            after: vec![Step::quiet("rm", Self::told(site, &["rm", "-f", &self.name()]))],
            by_daemon: true,
            ..Course::default()
        }
    }

    fn create(&self, site: &Site, name: &str, flags: &[&str]) -> Step {
        let create =
            [Self::told(site, &["create", "--name", name]), words_of(flags), self.kind(site)].concat();
        Step::saying("create", create, name)
    }

    pub(super) fn lifecycle(&self, site: &Site) -> Course {
        let exec = Step { part: "exec", ..Self::saying(site, &["exec", NAME]) };
        Course {
            // It is started as it is created: there is no other word for that.
            timed: vec![
                self.create(site, NAME, &[]),
                exec,
                Step::quiet("stop", Self::told(site, &["stop", NAME])),
                Step::quiet("rm", Self::told(site, &["rm", NAME])),
            ],
            rescue: vec![Step::quiet("rm", Self::told(site, &["rm", "-f", NAME]))],
            by_daemon: true,
            ..Course::default()
        }
    }

    /// One that waits, and many of them.
    pub(super) fn memory(&self, site: &Site) -> Course {
        let remove = Step::quiet("rm", Self::told(site, &["rm", "-f", NAME]));
        let crowd = Some(Crowd::Made(self.create(site, NAME, &[]), remove));
        let inspect = Step::quiet("look", Self::told(site, &["inspect", &self.name(), "--format", "json"]));
        let living = Course { crowd, ..self.living(site, inspect) };
        match self.first_process(site) {
            Ok(whose) => {
                let before = self.with_workload(site, &[]);
                let hold = ["exec", "-i", &self.name(), "--", INSIDE, "hold", &site.token];
                let hold = Some(Self::told(site, &hold));
                Course { before, figure: Figure::MemoryOf(whose), hold, ..living }
            }
            Err(why) => Course { alone: Some(why), ..living },
        }
    }

    fn mount(site: &Site) -> String {
        format!("{}:{INSIDE}:ro", work::program(site).display())
    }

    /// Whether a file of the host can be mounted into it. Where none can, the work is copied.
    fn mounts(&self) -> bool {
        !matches!(&*self.backend, "qemu" | "firecracker")
    }

    /// Where the program that does the work is, in a sandbox that has it.
    pub(super) fn place(&self) -> &'static str {
        if self.mounts() { INSIDE } else { COPIED }
    }

    /// Makes a sandbox that has it.
    pub(super) fn with_workload(&self, site: &Site, flags: &[&str]) -> Vec<Setup> {
        if self.mounts() {
            let mount = Self::mount(site);
            let flags = [flags, &["-v", &mount]].concat();
            return vec![Setup::Run(self.create(site, &self.name(), &flags))];
        }
        let (from, to) = (work::program(site).display().to_string(), format!("{}:{COPIED}", self.name()));
        let copy = Step::quiet("cp", Self::told(site, &["cp", &from, &to]));
        vec![Setup::Run(self.create(site, &self.name(), flags)), Setup::Run(copy)]
    }

    pub(super) fn fork(&self, site: &Site) -> Result<Course, Missing> {
        if self.backend != "qemu" {
            return Err("it cannot make two of a running sandbox".into());
        }
        let exec = Step { part: "exec", ..Self::saying(site, &["exec", NAME]) };
        let fork = Step::saying("fork", Self::told(site, &["fork", &self.name(), "--name", NAME]), NAME);
        let remove = Step::quiet("rm", Self::told(site, &["rm", "-f", NAME]));
        let (between, rescue) = (vec![remove.clone()], vec![remove]);
        Ok(Course { timed: vec![fork, exec.clone()], between, rescue, ..self.living(site, exec) })
    }

    pub(super) fn inside(&self, benchmark: Benchmark, site: &Site) -> Result<Course, Missing> {
        if !self.mounts() {
            let exec = Self::told(site, &["exec", "--output-limit", FLOOD_LIMIT, &self.name(), "--"]);
            let around = |words: Vec<String>| [exec.clone(), words].concat();
            let Course { timed, figure, .. } =
                work::inside(benchmark, site, COPIED.as_ref(), WRITABLE, &around)?;
            let before = self.with_workload(site, &[]);
            return Ok(Course { before, timed, figure, ..self.living(site, Self::saying(site, &[])) });
        }
        let run = ["run", "--no-daemon", "--output-limit", FLOOD_LIMIT, "-v", &Self::mount(site)];
        let run = Self::told(site, &run);
        let run = [run, self.kind(site)].concat();
        let around = |words: Vec<String>| [run.clone(), vec!["--".to_owned()], words].concat();
        work::inside(benchmark, site, INSIDE.as_ref(), WRITABLE, &around)
    }

    pub(super) fn copy(&self, site: &Site) -> Course {
        let inside = |name: &str| format!("{}:{WRITABLE}/{name}", self.name());
        let cp = |from: &str, to: &str| Self::told(site, &["cp", from, to]);
        let Course { timed, brings, .. } = work::copying(site, &self.backend, &inside, &cp);
        let removal = ["exec", &self.name(), "--", "rm", "-r", "/workspace/file", "/workspace/tree"];
        let between = vec![Step::quiet("rm", Self::told(site, &removal))];
        Course { timed, brings, between, ..self.living(site, Self::saying(site, &[])) }
    }
}
