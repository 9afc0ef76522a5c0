//! Who is measured: the bare host, and whoever is named.

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_oci::engine::Engine;

use super::course::Doer;
use super::doctor::Doctor;
use super::e2b::E2b;
use super::ours::Kind;
use super::{EMULATED, HOST, Site, Target, floor, ours, rival};

/// What a name begins with whose rest is the address of an E2B server.
const E2B: &str = "e2b:";

/// Who is to be measured besides the bare host.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Backends of ours; all that doctor knows, if none is named.
    pub backends: Vec<String>,
    /// Whether each of them is measured out of a daemon's pool, too.
    pub warm: bool,
    /// Whether what works here only emulated is measured so.
    pub emulate: bool,
    /// Tools of others.
    pub rivals: Vec<String>,
}

impl Wanted {
    /// All targets, and how this machine has KVM, in doctor's words.
    pub(super) fn targets(&self, site: &Site) -> Result<(Vec<Target>, Option<String>)> {
        // A wrong name costs no question to doctor, who looks at all there is.
        let rivals = self.rivals.iter().map(|name| other(name)).collect::<Result<Vec<_>>>()?;
        let Doctor { backends: known, kvm } = Doctor::ask(site)?;
        let all = || known.keys().cloned().collect::<Vec<_>>();
        let backends = if self.backends.is_empty() { all() } else { self.backends.clone() };
        let mut targets = vec![target(HOST, floor::Floor)];
        for name in backends {
            let found = known.get(&name).ok_or_else(|| unknown("backend", &name, &all().join(", ")))?;
            let is_emulated = self.emulate && found.is_emulated;
            let obstacle = found.obstacle.clone().filter(|_| !is_emulated);
            let one =
                |kind| ours::Ours { backend: name.clone(), obstacle: obstacle.clone(), is_emulated, kind };
            targets.push(ours(one(Kind::Cold)));
            targets.extend(self.warm.then(|| ours(one(Kind::Warm))));
            let raw =
                [Engine::Runc, Engine::Gvisor].into_iter().find(|engine| engine.kind().as_str() == name);
            if raw.is_some_and(|raw| self.rivals.iter().any(|rival| rival == raw.program())) {
                targets.push(ours(one(Kind::OnRawRoot)));
            }
        }
        targets.extend(rivals);
        Ok((targets, kvm))
    }
}

fn target(name: &str, doer: impl Doer + 'static) -> Target {
    Target { name: name.into(), doer: Box::new(doer) }
}

fn ours(doer: ours::Ours) -> Target {
    let kind = match doer.kind {
        Kind::Cold => "",
        Kind::Warm => " pool",
        Kind::OnRawRoot => ", raw root",
    };
    let mark = if doer.is_emulated { EMULATED } else { "" };
    target(&format!("{}{kind}{mark}", doer.backend), doer)
}

fn other(name: &str) -> Result<Target> {
    if let Some(address) = name.strip_prefix(E2B) {
        return Ok(target(name, E2b::at(address)?));
    }
    let all = || format!("{}, {E2B}URL", rival::NAMES.join(", "));
    let doer = rival::doer(name).ok_or_else(|| unknown("tool", name, &all()))?;
    Ok(Target { name: format!("{name} itself"), doer })
}

fn unknown(what: &str, name: &str, all: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("find the {what}"), "nobody knows it")
        .on(name)
        .hint(format!("there are {all}"))
}
