//! What a machine begins with: two archives, the agent's, and one that is the same for all machines of one description.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use agentkernel_core::{Error, ErrorKind, Image, Result, SandboxSpec};
use agentkernel_hardening::etc;
use agentkernel_hardening::layout::program_folders;
use agentkernel_hardening::seccomp::SeccompFilters;
use agentkernel_link::{GUEST, GUEST_SHA256};

use super::MicrovmBackend;
use crate::cpio::Archive;
use crate::layout::{self, Entry, FILTERS, LAYER};
use crate::probe::Tools;

/// Largest file of the host's /etc that is taken into a machine's memory, bytes: the list of certificates has 200 kB.
const ETC_FILE_MAX: u64 = 2 << 20;

/// What a machine begins with. The agent, which is most of it, is put before the rest only where it is written.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    /// The archive of the rest.
    rest: Vec<u8>,
}

impl Initramfs {
    /// What tells it from every other one.
    pub(super) fn identity(&self) -> [&[u8]; 2] {
        [GUEST_SHA256, &self.rest]
    }

    /// Writes it to a new file. A kernel unpacks one archive after the other (its buffer-format.rst).
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut agent = Archive::default();
        agent.file("init", GUEST, 0o555);
        let mut file = File::create_new(path)?;
        file.write_all(&agent.finish())?;
        file.write_all(&self.rest)
    }
}

impl MicrovmBackend {
    pub(super) fn initramfs(&self, tools: &Tools, spec: &SandboxSpec) -> Result<Initramfs> {
        let failed = |why: io::Error| {
            Error::new(ErrorKind::Host, "make the initramfs", why).hint("agentkernel setup microvm")
        };
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "groups", "image", "new"] {
            archive.folder(folder, 0o755);
        }
        archive.character_device("dev/console", (5, 1));
        let mut modules = Vec::new();
        for (name, content) in self.store(&tools.home).modules(&tools.kernel, self.vmm).map_err(failed)? {
            archive.file(&format!("agentkernel/{name}"), &content, 0o600);
            modules.push(format!("/agentkernel/{name}"));
        }
        archive.file("agentkernel/steps", layout::steps(spec, &modules, self.vmm).as_bytes(), 0o600);
        archive.file(&format!("{LAYER}/{FILTERS}"), filters().map_err(failed)?, 0o444);
        add_layer(&mut archive, spec).map_err(failed)?;
        Ok(Initramfs { rest: archive.finish() })
    }
}

/// The filters of commands, compiled once: they are the same in all machines.
fn filters() -> io::Result<&'static [u8]> {
    static FILTERS: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(filters) = FILTERS.get() {
        return Ok(filters);
    }
    let filters = SeccompFilters::compile().map_err(io::Error::other)?;
    Ok(FILTERS.get_or_init(|| filters.bytes()))
}

/// The sandbox's own files, and for the host's programs what they need of /etc.
fn add_layer(archive: &mut Archive, spec: &SandboxSpec) -> io::Result<()> {
    let linked = program_folders()
        .into_iter()
        .filter_map(|(name, target)| Some((name, target?.to_string_lossy().into_owned())));
    let folders: Vec<_> = linked.collect();
    for entry in layout::layer(spec, &folders) {
        match entry {
            Entry::Folder(path, mode) => archive.folder(&format!("{LAYER}/{path}"), mode),
            Entry::File(path, content) => archive.file(&format!("{LAYER}/{path}"), &content, 0o644),
            Entry::Link(path, target) => archive.link(&format!("{LAYER}/{path}"), &target),
        }
    }
    if *spec.image() == Image::Host {
        for name in etc::HOST_FOLDERS.iter().chain(etc::HOST_FILES) {
            add_tree(archive, &Path::new("/etc").join(name), &format!("{LAYER}/etc/{name}"))?;
        }
    }
    Ok(())
}

/// Files, folders and links; what is not there, or is something else, is left out.
fn add_tree(archive: &mut Archive, from: &Path, to: &str) -> io::Result<()> {
    let Ok(facts) = fs::symlink_metadata(from) else { return Ok(()) };
    if facts.is_symlink() {
        archive.link(to, &fs::read_link(from)?.to_string_lossy());
    } else if facts.is_file() && facts.len() <= ETC_FILE_MAX {
        archive.file(to, &fs::read(from)?, 0o644);
    } else if facts.is_dir() {
        archive.folder(to, 0o755);
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            add_tree(archive, &entry.path(), &format!("{to}/{}", entry.file_name().to_string_lossy()))?;
        }
    }
    Ok(())
}
