//! Takes real samples: starts a sandbox by a runtime, judges what it did, and sees to it that nothing of it is left.

pub mod bundle;
pub(crate) mod client;
pub(crate) mod group;
pub(crate) mod memory;
mod orphans;
pub mod rootfs;
pub mod target;
pub(crate) mod verdict;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::Error;
use agentkernel_process::Program;

pub use bundle::{Bundle, GroupLimits, Size};
use client::{Client, Ended};
pub use group::Group;
pub use rootfs::Source;
pub use target::Target;
use verdict::{Run, judge, nanoseconds, sample};

use crate::executor::{Executor, Sample};
use crate::plan::{Metric, Order};
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::statistics;
use crate::workload::{self, Work};

/// How often the work is done without a sandbox, for [`Executor::overhead_ns`].
const FLOOR_SAMPLES: usize = 20;

/// What happens to the page cache before a cold start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageCache {
    /// It is dropped, as far as the kernel lets us.
    Drop,
    /// It stays.
    Keep,
}

/// Where sandboxes are started, and how.
#[derive(Debug)]
pub struct Site {
    /// A folder of ours, without nosuid and nodev, that others may pass through.
    pub work: PathBuf,
    /// Where root folders come from.
    pub source: Source,
    /// What all targets get.
    pub bundle: Bundle,
    /// The sandbox's control group, once it is there.
    pub group: Group,
    /// How long a sandbox may take to its end.
    pub deadline: Duration,
    /// Changes the work.
    pub seed: u64,
    /// For cold starts.
    pub page_cache: PageCache,
}

/// The executor that starts sandboxes, one after the other.
#[derive(Debug)]
pub struct Sandboxes {
    site: Site,
    targets: Vec<Target>,
    floor_ns: Option<u64>,
    /// How often the page cache was dropped.
    cooled: u32,
    /// Why it was not, where it should have been.
    cache_trouble: Option<String>,
}

/// Why one run gave no sample.
enum Trouble {
    Cause(Cause),
    Error(Error),
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What is done with a sandbox that waits: its processes, and the first line that it said.
type Look<'a> = &'a mut dyn FnMut(&BTreeSet<u32>, &str) -> Result<(), Cause>;

impl Sandboxes {
    /// Makes ready for these targets. Every orphan below this process is ours from now on.
    pub fn new(site: Site, targets: Vec<Target>) -> Result<Self, Error> {
        orphans::adopt().map_err(|why| host("become a reaper", "this process", why))?;
        let sandboxes = Self { site, targets, floor_ns: None, cooled: 0, cache_trouble: None };
        sandboxes.stage(&sandboxes.warm())?;
        Ok(sandboxes)
    }

    /// The digest of the root folder that is used.
    pub fn rootfs_digest(&self) -> Result<String, Error> {
        let root = self.warm().join(bundle::ROOTFS);
        rootfs::digest(&root).map_err(|why| host("read the root folder", root.display(), why))
    }

    /// What became of the page cache before cold starts.
    #[must_use]
    pub fn page_cache(&self) -> String {
        match (self.site.page_cache, &self.cache_trouble) {
            (PageCache::Keep, _) => "kept, as it was asked for".into(),
            (PageCache::Drop, None) => format!("dropped {} times, before each cold sample", self.cooled),
            (PageCache::Drop, Some(why)) => format!("not dropped: {why}"),
        }
    }

    /// The targets.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Where and how.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Starts the sandbox that tells what it sees, and lets `look` look at it meanwhile.
    pub fn show(&self, target: usize, look: Look<'_>) -> Result<(), Failure> {
        let shown = self.run(target, &self.warm(), &workload::facts(), look);
        shown.map(drop).map_err(|trouble| self.failure(target, "proof", trouble))
    }

    fn failure(&self, target: usize, metric: &str, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Error(error) => Failure::Error(error),
            Trouble::Cause(cause) => Failure::Refused(Refusal {
                target: self.targets[target].name.clone(),
                while_measuring: metric.to_owned(),
                cause,
            }),
        }
    }

    fn warm(&self) -> PathBuf {
        self.site.work.join("warm")
    }

    /// Makes a bundle's folder anew, with its root folder.
    fn stage(&self, folder: &Path) -> Result<(), Error> {
        let failed = |why: io::Error| host("stage the root folder", folder.display(), why);
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(failed)?;
        }
        fs::create_dir(folder).map_err(failed)?;
        self.site.source.stage(&folder.join(bundle::ROOTFS)).map_err(failed)
    }

    fn take(&mut self, order: &Order) -> Result<Sample, Trouble> {
        let work = workload::work_of(order.metric, self.site.seed);
        let mut held = None;
        let mut look = |processes: &BTreeSet<u32>, _: &str| {
            held = Some(memory::held(processes).map_err(|why| Cause::Incredible { why })?);
            Ok(())
        };
        let folder = if order.metric == Metric::ColdStart {
            let folder = self.site.work.join("cold");
            self.stage(&folder)?;
            self.cool(&folder);
            folder
        } else {
            self.warm()
        };
        let run = self.run(order.target, &folder, &work, &mut look)?;
        Ok(sample(order, &work, &run, held)?)
    }

    /// Has the next start read from disk, as far as that is in our power.
    fn cool(&mut self, folder: &Path) {
        if self.site.page_cache == PageCache::Keep {
            return;
        }
        let cooled = fs::File::open(folder)
            .and_then(|folder| Ok(rustix::fs::syncfs(&folder)?))
            .and_then(|()| fs::write("/proc/sys/vm/drop_caches", "1"));
        match cooled {
            Ok(()) => self.cooled += 1,
            Err(why) => self.cache_trouble = Some(why.to_string()),
        }
    }

    /// Starts a sandbox, lets it do its work, and judges that. Nothing of it is left afterwards.
    fn run(&self, target: usize, folder: &Path, work: &Work, look: Look<'_>) -> Result<Run, Trouble> {
        let state = self.site.work.join("state");
        let config = folder.join("config.json");
        fs::write(&config, self.site.bundle.with(work))
            .map_err(|why| host("write the bundle", config.display(), why))?;
        let target = &self.targets[target];
        let failed = |why: io::Error| host("start the runtime", target.program.display(), why);
        let program = target.run(&state, folder, &self.id()).map_err(failed)?;
        let mut client = Client::start(&program).map_err(failed)?;
        let ended = self.attend(&mut client, work, look);
        if ended.is_err() {
            client.kill().map_err(failed)?;
        }
        let left = self.clean(&state)?;
        let (stdout, stderr) = client.output();
        let run = Run { ended: ended?, stdout, stderr };
        judge(work, &run)?;
        if left.is_empty() { Ok(run) } else { Err(Cause::LeftBehind { what: left.join(", ") }.into()) }
    }

    /// The container's id. gVisor has a name space of its own for all of a host: no two runs have the same.
    fn id(&self) -> String {
        format!("bench-{}", std::process::id())
    }

    fn attend(&self, client: &mut Client, work: &Work, look: Look<'_>) -> Result<Ended, Trouble> {
        if work.waits {
            // A target that ends without a word is judged by how it ends.
            if let Some(line) = client.first_line(self.site.deadline) {
                look(&self.site.group.processes(), &line)?;
            }
        }
        client.close_input();
        let ended = client.wait(self.site.deadline);
        let ended = ended.map_err(|why| host("wait for the runtime", "its process", why))?;
        ended.ok_or_else(|| {
            let deadline_ms = u64::try_from(self.site.deadline.as_millis()).unwrap_or(u64::MAX);
            Cause::TimedOut { awaited: "end".into(), deadline_ms }.into()
        })
    }

    /// Ends and removes whatever there still is, and says what there was.
    fn clean(&self, state: &Path) -> Result<Vec<String>, Error> {
        let failed = |why: io::Error| {
            let mut error = host("clean up after a sandbox", self.site.work.display(), why);
            error.kind = agentkernel_core::ErrorKind::Cleanup;
            error
        };
        let mut left = orphans::end_all().map_err(failed)?;
        left.extend(self.site.group.end().map_err(failed)?);
        if let Ok(entries) = fs::read_dir(state) {
            left.extend(entries.flatten().map(|entry| format!("state {}", entry.file_name().display())));
            fs::remove_dir_all(state).map_err(failed)?;
        }
        Ok(left)
    }

    fn floor(&self) -> Result<u64, Error> {
        let work = workload::work_of(Metric::WarmStart, self.site.seed);
        let path = self.warm().join(bundle::ROOTFS).join(workload::PLACE.trim_start_matches('/'));
        let failed = |why: io::Error| host("run the work without a sandbox", path.display(), why);
        let words = work.words.iter().skip(1);
        let program =
            words.fold(Program::new(&path).map_err(failed)?, |program, word| program.argument(word));
        let mut samples = Vec::with_capacity(FLOOR_SAMPLES);
        for _ in 0..FLOOR_SAMPLES {
            let mut client = Client::start(&program).map_err(failed)?;
            let ended = client.wait(self.site.deadline).map_err(failed)?;
            let ended = ended.ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?;
            let (stdout, stderr) = client.output();
            let run = Run { ended, stdout, stderr };
            judge(&work, &run).map_err(|cause| failed(io::Error::other(cause.to_string())))?;
            samples.push(nanoseconds(run.ended.wall));
        }
        Ok(statistics::middle(&mut samples))
    }
}

impl Executor for Sandboxes {
    fn calibrate(&mut self) -> Result<(), Failure> {
        self.floor_ns = Some(self.floor()?);
        Ok(())
    }

    fn sample(&mut self, order: &Order) -> Result<Sample, Failure> {
        self.take(order).map_err(|trouble| self.failure(order.target, order.metric.key(), trouble))
    }

    fn overhead_ns(&self) -> Option<u64> {
        self.floor_ns
    }
}
