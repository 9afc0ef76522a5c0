//! What was typed, checked once.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use agentkernel_core::{ByteSize, CpuCount, Error, ErrorKind, Result};
use clap::Parser as _;

use crate::image::Name;
use crate::plan::Metric;
use crate::sandbox::Size;

/// Variables that say something, as the environment has them; empty ones say nothing, but that an image has no name.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// BENCH_IMAGE.
    pub image: Option<OsString>,
    /// BENCH_ROOTFS.
    pub rootfs: Option<OsString>,
    /// BENCH_MEM_MB.
    pub memory_mib: Option<OsString>,
    /// BENCH_CPUS.
    pub cpus: Option<OsString>,
    /// PATH, in which runtimes and engines are looked for.
    pub path: Option<OsString>,
    /// Those that a container engine's client is given.
    pub engine: Vec<(&'static str, OsString)>,
}

/// Measures gVisor against runc on the bundle of our sandboxes: starts, memory, computing and system calls.
///
/// Variables: BENCH_ROOTFS (a folder to take the root file system from; else one is made of a static busybox),
/// BENCH_IMAGE (an image to take it from, best as NAME@sha256:DIGEST, by docker or podman, whichever answers first;
/// DOCKER_HOST, DOCKER_CONTEXT, CONTAINER_HOST and the like are theirs), BENCH_MEM_MB and BENCH_CPUS (limits of each
/// sandbox).
///
/// Exit codes: 0 measured, 2 wrong usage, 3 a target or a sample was refused, 125 it could not be measured.
#[derive(Debug, clap::Parser)]
#[command(name = "agentkernel-bench", version)]
struct Words {
    /// Samples of each target and metric
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    iterations: u32,

    /// Samples before them that are thrown away
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=1000))]
    warm_ups: u32,

    /// Of every random decision; a run with the same seed has the same order [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// Only these metrics
    #[arg(long, value_name = "METRIC,…", value_delimiter = ',', value_parser = metric)]
    metrics: Vec<Metric>,

    /// Where the results go [default: benchmark-results/UTC-TIME]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Where bundles are staged: a folder that is not mounted nosuid or nodev
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work_dir: PathBuf,

    /// The most that a sandbox may take from start to end
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_s: u64,

    /// Leave the page cache alone before cold starts: they are warmer then
    #[arg(long)]
    keep_page_cache: bool,

    /// Keep the staged bundles
    #[arg(long)]
    keep: bool,

    /// What of the source this was built from, for methodology.txt
    #[arg(long)]
    commit: Option<String>,

    /// Try runtimes that fail, lie, hang and leave things: each must be refused
    #[arg(long)]
    self_test: bool,
}

/// What is meant.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Samples of each target and metric.
    pub iterations: u32,
    /// Samples before them.
    pub warm_ups: u32,
    /// Of every random decision.
    pub seed: u64,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// Where the results go.
    pub output: Option<PathBuf>,
    /// Where bundles are staged.
    pub work_dir: PathBuf,
    /// The most that a sandbox may take.
    pub deadline: Duration,
    /// Whether the page cache is left alone.
    pub keep_page_cache: bool,
    /// Whether bundles are kept.
    pub keep: bool,
    /// What this was built from.
    pub commit: Option<String>,
    /// Whether the harness is tried, and nothing measured.
    pub self_test: bool,
    /// An image.
    pub image: Option<Name>,
    /// A root folder.
    pub rootfs: Option<PathBuf>,
    /// What each sandbox may use.
    pub size: Size,
    /// Where programs are looked for.
    pub folders: Vec<PathBuf>,
    /// Where engines are looked for: on PATH alone, so that it says which is used.
    pub path: Vec<PathBuf>,
    /// All that an engine's client has of the environment.
    pub engine: Vec<(String, String)>,
}

/// Where distributions put what is for administrators, which not every PATH has.
const FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

fn metric(word: &str) -> Result<Metric, String> {
    let keys = || Metric::ALL.map(Metric::key).join(", ");
    let known = Metric::ALL.into_iter().find(|metric| metric.key() == word);
    known.ok_or_else(|| format!("there are {}", keys()))
}

impl Arguments {
    /// Reads the words, the program's own name first. `random_seed` is taken if none is given.
    ///
    /// # Errors
    /// Help and version come as an error of the parser, too.
    pub fn parse(
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<impl FnOnce(Variables, u64) -> Result<Self>, clap::Error> {
        let words = Words::try_parse_from(words)?;
        Ok(move |variables: Variables, random_seed: u64| Self::of(words, variables, random_seed))
    }

    fn of(words: Words, variables: Variables, random_seed: u64) -> Result<Self> {
        let metrics = if words.metrics.is_empty() { Metric::ALL.to_vec() } else { words.metrics };
        let image = variables.image.as_deref().map(name).transpose()?;
        if image.is_some() && variables.rootfs.is_some() {
            return Err(usage(
                "BENCH_IMAGE",
                "BENCH_ROOTFS is set as well, and only one can be used",
                "unset one of them",
            ));
        }
        // Without an image nobody needs them, and none of them can be wrong.
        let engine = variables.engine.into_iter().filter(|_| image.is_some());
        let engine = engine.map(told).collect::<Result<_>>()?;
        let path = variables.path.as_deref().map(std::env::split_paths).into_iter().flatten();
        let path: Vec<PathBuf> = path.filter(|folder| folder.is_absolute()).collect();
        Ok(Self {
            iterations: words.iterations,
            warm_ups: words.warm_ups,
            seed: words.seed.unwrap_or(random_seed),
            metrics,
            output: words.output,
            work_dir: words.work_dir,
            deadline: Duration::from_secs(words.timeout_s),
            keep_page_cache: words.keep_page_cache,
            keep: words.keep,
            commit: words.commit,
            self_test: words.self_test,
            image,
            rootfs: variables.rootfs.map(PathBuf::from),
            size: Size { memory: memory(variables.memory_mib)?, cpus: cpus(variables.cpus)? },
            folders: path.iter().cloned().chain(FOLDERS.iter().map(PathBuf::from)).collect(),
            path,
            engine,
        })
    }
}

fn name(value: &OsStr) -> Result<Name> {
    let text = value.to_str().ok_or("it is not UTF-8");
    text.and_then(Name::new).map_err(|why| {
        let hint = "for example BENCH_IMAGE=busybox@sha256:…, or unset it";
        usage("BENCH_IMAGE", &format!("{value:?} names no image: {why}"), hint)
    })
}

fn told((name, value): (&'static str, OsString)) -> Result<(String, String)> {
    let value = value.into_string();
    let value =
        value.map_err(|value| usage(name, &format!("{value:?} is not UTF-8"), "unset or change it"))?;
    Ok((name.to_owned(), value))
}

fn memory(value: Option<OsString>) -> Result<Option<ByteSize>> {
    let Some(value) = value else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse::<u64>().ok());
    let bytes = number.and_then(|mib| mib.checked_mul(1 << 20)).and_then(ByteSize::bytes);
    bytes.map(Some).ok_or_else(|| {
        let why = format!("{value:?} is no number of mebibytes above 0");
        usage("BENCH_MEM_MB", &why, "for example BENCH_MEM_MB=512")
    })
}

fn cpus(value: Option<OsString>) -> Result<Option<CpuCount>> {
    let Some(value) = value else { return Ok(None) };
    value.to_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
        let why = format!("{value:?} is no number of processors");
        usage("BENCH_CPUS", &why, "for example BENCH_CPUS=1 or BENCH_CPUS=0.5")
    })
}

fn usage(subject: &str, why: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Usage, "read the environment", why).on(subject).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str, variables: Variables) -> Result<Arguments> {
        let words = std::iter::once("agentkernel-bench").chain(words.split_whitespace()).map(OsString::from);
        Arguments::parse(words).expect("known words")(variables, 99)
    }

    #[test]
    fn fifty_samples_of_everything_are_the_default_and_a_seed_is_taken_as_given() {
        let arguments = read("", Variables::default()).expect("valid");
        assert_eq!((arguments.iterations, arguments.seed), (50, 99));
        assert_eq!(arguments.metrics, Metric::ALL);
        let arguments =
            read("--iterations 7 --seed 3 --metrics walk,cpu", Variables::default()).expect("valid");
        assert_eq!((arguments.iterations, arguments.seed), (7, 3));
        assert_eq!(arguments.metrics, [Metric::Walk, Metric::Cpu]);
    }

    #[test]
    fn variables_that_mean_nothing_are_refused_by_name() {
        let subject = |variables| read("", variables).expect_err("refused").subject;
        let variable = |text: &str| Some(OsString::from(text));
        for text in ["0", "-1", "many", "99999999999999999999"] {
            assert_eq!(
                subject(Variables { memory_mib: variable(text), ..Variables::default() }),
                "BENCH_MEM_MB"
            );
        }
        assert_eq!(subject(Variables { cpus: variable("none"), ..Variables::default() }), "BENCH_CPUS");
        let both = Variables { image: variable("busybox"), rootfs: variable("/srv"), ..Variables::default() };
        assert_eq!(subject(both), "BENCH_IMAGE");
        let size = read(
            "",
            Variables { memory_mib: variable("256"), cpus: variable("0.5"), ..Variables::default() },
        );
        let size = size.expect("valid").size;
        assert_eq!(size.memory.map(ByteSize::get), Some(256 << 20));
        assert_eq!(size.cpus.map(CpuCount::as_milli), Some(500));
    }

    #[test]
    fn programs_are_never_looked_for_in_a_relative_folder() {
        let path = Some(OsString::from(".:bin:/opt/bin"));
        let folders = read("", Variables { path, ..Variables::default() }).expect("valid").folders;
        assert_eq!(folders[0], PathBuf::from("/opt/bin"));
        assert!(folders.iter().all(|folder| folder.is_absolute()));
    }
}
