//! Choosing a backend by what was measured: the brief's use cases, and for each what this machine's own figures say.

use agentkernel_core::BackendKind;
use serde::Serialize;

use super::benchmark::Benchmark;
use super::record::TOTAL;
use super::stored::{Level, Stored};
use super::table::ms;

/// For one use case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What somebody wants.
    pub use_case: &'static str,
    /// The backend in words ("oci pool" is one out of a daemon's pool); `null` if nothing here does it.
    pub backend: Option<String>,
    /// The figures for it, or why there is none.
    pub why: String,
    /// What the product's brief recommends.
    #[serde(skip)]
    brief: &'static str,
}

/// What a use case asks for.
#[derive(Debug, Clone, Copy)]
enum Wish {
    /// Programs, answered the soonest.
    Soonest,
    /// Wasm modules, as many as can be.
    Modules,
    /// Programs, the soonest without a daemon.
    SoonestCold,
    /// Programs behind the strongest boundary.
    Strongest,
    /// A system that this is not, perhaps.
    MacOs,
}

const USE_CASES: [(&str, &str, Wish); 7] = [
    ("Interactive / API server", "Firecracker daemon", Wish::Soonest),
    ("High-throughput Wasm", "Hyperlight pool", Wish::Modules),
    ("macOS development (speed)", "Docker", Wish::MacOs),
    ("macOS development (security)", "Apple Containers", Wish::MacOs),
    ("Linux CI/CD (no KVM)", "Docker", Wish::SoonestCold),
    ("Untrusted code (Linux)", "Firecracker", Wish::Strongest),
    ("Untrusted code (macOS)", "Apple Containers", Wish::MacOs),
];

/// A backend that was measured.
struct Measured {
    target: String,
    kind: BackendKind,
    p50_ns: f64,
    count: usize,
    per_second: f64,
}

impl Measured {
    fn is_warm(&self) -> bool {
        self.target.ends_with(WARM)
    }

    fn why(&self) -> String {
        let boundary = boundary(self.kind);
        format!("p50 {} ms, {:.0} a second, n {}; {boundary}", ms(self.p50_ns), self.per_second, self.count)
    }
}

/// Ends the name of a target that is warm.
const WARM: &str = " pool";

/// One choice for each use case.
#[must_use]
pub fn choices(stored: &Stored) -> Vec<Choice> {
    let measured = measured(stored);
    let is_linux = stored.newest().is_some_and(|run| run.facts.environment.kernel.starts_with("Linux"));
    let chosen = |(use_case, brief, wish)| {
        let found = match wish {
            Wish::MacOs if is_linux => Err("this is Linux".to_owned()),
            wish => best(&measured, wish).ok_or_else(|| missing(wish)),
        };
        let why = found.as_ref().map_or_else(Clone::clone, |one| one.why());
        Choice { use_case, backend: found.ok().map(|one| one.target.clone()), why, brief }
    };
    USE_CASES.into_iter().map(chosen).collect()
}

fn missing(wish: Wish) -> String {
    let flags = match wish {
        Wish::Modules => "--backend wasm --warm",
        Wish::SoonestCold | Wish::Strongest | Wish::MacOs => "",
        Wish::Soonest => "--warm",
    };
    format!("nothing that does it has been measured: agentkernel bench run startup {flags}")
        .trim_end()
        .to_owned()
}

/// Our backends that have started; others' tools and the bare host are no choice.
fn measured(stored: &Stored) -> Vec<Measured> {
    let of = |target: &str| {
        let kind = BackendKind::ALL.iter().find(|kind| kind.as_str() == target.trim_end_matches(WARM))?;
        let (row, _) = stored.row(Benchmark::Startup, target, Level::One)?;
        let figures = row.figures.get(TOTAL)?;
        let (p50_ns, count) = (figures.p50_ns, figures.count);
        Some(Measured {
            target: target.to_owned(),
            kind: *kind,
            p50_ns,
            count,
            per_second: row.per_second()?,
        })
    };
    stored.targets(Benchmark::Startup).into_iter().filter_map(of).collect()
}

fn best(measured: &[Measured], wish: Wish) -> Option<&Measured> {
    let runs_programs = |one: &&Measured| one.kind != BackendKind::Wasm;
    let soonest = |one: &&Measured, other: &&Measured| one.p50_ns.total_cmp(&other.p50_ns);
    let strength = |one: &Measured| BackendKind::ALL.iter().position(|kind| *kind == one.kind);
    match wish {
        Wish::Soonest => measured.iter().filter(runs_programs).min_by(soonest),
        Wish::Modules => measured.iter().filter(|one| one.kind == BackendKind::Wasm).min_by(soonest),
        Wish::SoonestCold | Wish::MacOs => {
            measured.iter().filter(runs_programs).filter(|one| !one.is_warm()).min_by(soonest)
        }
        Wish::Strongest => {
            let strongest = measured.iter().filter(runs_programs).filter_map(strength).min();
            measured.iter().filter(|one| strength(one) == strongest).min_by(soonest)
        }
    }
}

/// What is between a target's sandbox and the host.
#[must_use]
pub fn boundary_of(target: &str) -> &'static str {
    // What is behind a comma is how it was measured.
    let name = target.split(',').next().unwrap_or(target).trim_end_matches(WARM);
    let kind = BackendKind::ALL.iter().find(|kind| kind.as_str() == name);
    match kind {
        _ if target.ends_with(super::machine::EMULATED) => "no boundary: emulated in software",
        Some(kind) => boundary(*kind),
        None if target == super::machine::HOST => "none",
        None => "as the tool has it by default",
    }
}

fn boundary(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Apple | BackendKind::Firecracker | BackendKind::Qemu => "a kernel of its own",
        BackendKind::Hyperlight => "a micro VM without a Linux kernel",
        BackendKind::Gvisor => "gVisor's kernel in user space",
        BackendKind::Wasm => "a boundary of software alone",
        BackendKind::Fake => "none",
        BackendKind::Oci
        | BackendKind::Runc
        | BackendKind::Crun
        | BackendKind::Docker
        | BackendKind::Podman => "hardened, the host's kernel is shared",
    }
}

/// As a table beside the brief's.
#[must_use]
pub fn markdown(stored: &Stored) -> String {
    let mut text = "| Use case | the brief's | *here* | measured |\n|---|---|---|---|\n".to_owned();
    for Choice { use_case, backend, why, brief } in choices(stored) {
        let backend = backend.map_or("–".to_owned(), |backend| format!("`{backend}`"));
        text += &format!("| {use_case} | {brief} | {backend} | {why} |\n");
    }
    text
}
