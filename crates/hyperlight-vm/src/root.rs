//! The files of a machine: an archive in memory, of which nothing is on the host.

mod closure;
mod folder;
mod host;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use agentkernel_hyperlight::wire::{Root, Trouble};
use agentkernel_link::GUEST;
use agentkernel_wasm::{IS_STILL, MODULE, MachineCode};
use rustix::fs::{MemfdFlags, memfd_create};

/// Where our agent is in a machine.
pub const AGENT: &str = ".agentkernel";

/// Shells by their names. One that calls `fork` is left out: this kernel has `vfork` alone, and a pipe of such a shell was
/// seen to end with success and the wrong output.
const SHELLS: &[&str] =
    &["sh", "ash", "bash", "busybox", "csh", "dash", "ksh", "mksh", "rbash", "tcsh", "zsh"];

/// Folders that a command may expect.
const FOLDERS: &[&str] = &["dev", "proc", "tmp", "usr", "usr/bin", "usr/lib"];

/// Whether a program of this name would have been left out.
pub fn is_left_out(name: &str) -> bool {
    Path::new(name).file_name().and_then(|name| name.to_str()).is_some_and(|name| SHELLS.contains(&name))
}

/// The archive of a root, which may fill half of so much memory.
pub fn archive(root: &Root, memory_mib: usize) -> Result<File, Trouble> {
    let mut files = Archive::new(GUEST, memory_mib).map_err(|why| trouble("archive", &why))?;
    match root {
        Root::Host => host::add(&mut files)?,
        Root::Folder(folder) => folder::add(folder, &mut files)?,
        Root::Module { .. } => {} // its program is our agent
    }
    files.finish().map_err(|why| trouble("archive", &why))
}

/// The program of machines that run Wasm modules.
const GUEST_WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agentkernel-guest-wasm"));

/// Which build that is.
pub const GUEST_WASM_BUILD: &str = env!("AGENTKERNEL_GUEST_WASM_BUILD");

/// The archive of a machine that runs this machine code, which may fill half of so much memory.
pub fn archive_of_module(module: &MachineCode, memory_mib: usize) -> Result<File, Trouble> {
    let told = |why: io::Error| trouble("archive", &why);
    let mut files = Archive::new(GUEST_WASM, memory_mib).map_err(told)?;
    files.charge(module.code().len() as u64)?;
    files.file(Path::new(MODULE), 0o444, module.code()).map_err(told)?;
    if module.is_still() {
        files.file(Path::new(IS_STILL), 0o444, &[]).map_err(told)?;
    }
    files.finish().map_err(told)
}

fn trouble(subject: impl Into<String>, why: &io::Error) -> Trouble {
    Trouble::Root(subject.into(), why.to_string())
}

/// A root that is being put together.
struct Archive {
    tar: tar::Builder<File>,
    /// The machine's kernel wants a folder before what is in it.
    folders: BTreeSet<PathBuf>,
    bytes: u64,
    bytes_max: u64,
}

impl Archive {
    fn new(agent: &[u8], memory_mib: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("root-tar", MemfdFlags::CLOEXEC)?);
        let mut files = Self {
            tar: tar::Builder::new(file),
            folders: BTreeSet::new(),
            bytes: 0,
            bytes_max: (memory_mib as u64) << 19,
        };
        FOLDERS.iter().try_for_each(|folder| files.folder(Path::new(folder), 0o755))?;
        files.file(Path::new(AGENT), 0o755, agent)?;
        Ok(files)
    }

    /// Counts what is to be added; refuses what is too much.
    fn charge(&mut self, bytes: u64) -> Result<(), Trouble> {
        self.bytes += bytes;
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        Err(Trouble::TooLarge {
            root_mib: usize::try_from(self.bytes.div_ceil(1 << 20)).unwrap_or(usize::MAX),
        })
    }

    fn folder(&mut self, place: &Path, mode: u32) -> io::Result<()> {
        if !self.folders.insert(place.to_owned()) {
            return Ok(());
        }
        self.entry(place, tar::EntryType::Directory, mode, &[])
    }

    fn file(&mut self, place: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let above: Vec<_> = place.ancestors().skip(1).filter(|above| *above != Path::new("")).collect();
        above.into_iter().rev().try_for_each(|above| self.folder(above, 0o755))?;
        self.entry(place, tar::EntryType::Regular, mode, content)
    }

    fn link(&mut self, place: &Path, target: &Path) -> io::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, place, target)
    }

    fn entry(&mut self, place: &Path, kind: tar::EntryType, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = header(kind, mode, content.len() as u64);
        self.tar.append_data(&mut header, place, content)
    }

    /// The archive in the form that the machine's kernel reads.
    fn finish(self) -> io::Result<File> {
        let mut tar = self.tar.into_inner()?;
        tar.seek(SeekFrom::Start(0))?;
        let file = File::from(memfd_create("root", MemfdFlags::CLOEXEC)?);
        let mut writer = io::BufWriter::new(file);
        hyperlight_unikraft::cpio::from_tar(BufReader::new(tar), &mut writer)?;
        writer.flush()?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// Where a file of the host is in a machine, whose `/bin`, `/lib`, `/lib64` and `/sbin` are those of its `/usr`.
fn place_of(path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.starts_with("usr") { relative.to_owned() } else { Path::new("usr").join(relative) }
}

#[cfg(test)]
mod tests;
