//! Gets a kernel: Debian's own, downloaded by its package manager and installed nowhere, one compiled of its source, or one that
//! the user names.

mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::{Program, locate};

use crate::folder::PrivateFolder;
use crate::kernel::{Kernel, KernelStore, check_image, module_name, needed};
pub use tiny::tiny;

/// The smallest of Debian's kernels, which has every driver that a machine needs.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// How long a question to the package manager may take.
const ASK_DEADLINE: Duration = Duration::from_secs(60);

/// How long a download of some 30 MB may take.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(1800);

const WHAT: &str = "set up the kernel";

/// The magic number of LZ4's legacy frames, which kernels are packed in, and the most that one block of them holds.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const LZ4_BLOCK_MAX: usize = 8 << 20;

/// Downloads Debian's kernel. `say` is told what is being done; programs are looked for in the folders of `search_path`.
pub fn from_debian(home: &Path, search_path: &[PathBuf], say: &mut dyn FnMut(&str)) -> Result<Kernel> {
    let tools = Tools::find(search_path)?;
    let folder = PrivateFolder::make(&home.join("download"), "kernel").map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => at_work(home),
        _ => Error::new(ErrorKind::Host, WHAT, why).on(home.display()),
    })?;
    say("asking for the current kernel");
    let package = tools.current_package()?;
    say(&format!("downloading {package}"));
    let file = tools.download(&package, folder.path())?;
    say("unpacking it");
    let unpacked = folder.path().join("unpacked");
    tools.unpack(&file, &unpacked)?;
    say("extracting the kernel and its modules");
    let version = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    keep_unpacked(home, &unpacked, &version)
}

fn at_work(home: &Path) -> Error {
    Error::new(ErrorKind::Host, WHAT, "another setup is at work").on(home.display()).hint("wait for it")
}

/// Takes a kernel that is a file: an ELF vmlinux with all its drivers built in.
pub fn from_file(home: &Path, file: &Path) -> Result<Kernel> {
    let refused = |why: String| {
        Error::new(ErrorKind::Usage, WHAT, why)
            .on(file.display())
            .hint("name an uncompressed vmlinux for x86-64, or leave --kernel out")
    };
    let image = fs::read(file).map_err(|why| refused(why.to_string()))?;
    check_image(&image).map_err(refused)?;
    keep(home, &file.display().to_string(), &image, &[])
}

/// Keeps the kernel of an unpacked package.
fn keep_unpacked(home: &Path, unpacked: &Path, source: &str) -> Result<Kernel> {
    let failed = |why: String| Error::new(ErrorKind::Host, WHAT, why).on(source);
    let boot = unpacked.join("boot");
    let compressed = entries(&boot).find(|path| file_name(path).starts_with("vmlinuz-"));
    let compressed = compressed.ok_or_else(|| failed("the package holds no kernel".into()))?;
    let image = fs::read(compressed).map_err(|why| failed(why.to_string()))?;
    let image = extract(&image).map_err(failed)?;
    check_image(&image).map_err(failed)?;
    let mut files = BTreeMap::new();
    for folder in ["lib/modules", "usr/lib/modules"] {
        find_modules(&unpacked.join(folder), &mut files);
    }
    let modules = needed(&files).map_err(|why| failed(why.to_string()))?;
    keep(home, source, &image, &modules)
}

fn keep(home: &Path, source: &str, image: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Kernel> {
    let failed = |why| Error::new(ErrorKind::Host, WHAT, why).on(home.display());
    fs::create_dir_all(home).map_err(failed)?;
    KernelStore::below(home).keep(source, image, modules).map_err(failed)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn find_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() && !path.is_symlink() {
            find_modules(&path, files);
        } else if let Some(name) = file_name(&path).strip_suffix(".ko") {
            files.insert(module_name(name), path);
        }
    }
}

/// The kernel inside a bzImage (Documentation/arch/x86/boot.rst): the payload's place is told in its header.
fn extract(image: &[u8]) -> Result<Vec<u8>, String> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let garbled = || "it is no bzImage".to_owned();
    let sectors = usize::from(*image.get(0x1f1).ok_or_else(garbled)?);
    let (offset, length) = number(0x248).zip(number(0x24c)).ok_or_else(garbled)?;
    let start = (sectors + 1) * 512 + offset;
    let payload = image.get(start..start.saturating_add(length)).ok_or_else(garbled)?;
    let Some(blocks) = payload.strip_prefix(&LZ4_LEGACY) else {
        let magic = payload.get(..4).unwrap_or_default();
        return Err(format!("its kernel is packed in a way that is not known here (it begins {magic:02x?})"));
    };
    // The last four bytes are the kernel's own: its length.
    unpack_lz4(blocks.get(..blocks.len().saturating_sub(4)).unwrap_or_default())
}

/// Blocks, each behind its length.
fn unpack_lz4(mut blocks: &[u8]) -> Result<Vec<u8>, String> {
    let garbled = |why: &dyn std::fmt::Display| format!("its kernel cannot be unpacked: {why}");
    let (mut kernel, mut room) = (Vec::new(), vec![0; LZ4_BLOCK_MAX]);
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|why| garbled(&why))?;
        let (block, others) = rest.split_at_checked(length).ok_or_else(|| garbled(&"it is cut off"))?;
        let count = lz4_flex::block::decompress_into(block, &mut room).map_err(|why| garbled(&why))?;
        kernel.extend_from_slice(&room[..count]);
        blocks = others;
    }
    Ok(kernel)
}

/// The programs of a Debian system.
struct Tools {
    apt_cache: PathBuf,
    apt_get: PathBuf,
    dpkg: PathBuf,
}

impl Tools {
    fn find(search_path: &[PathBuf]) -> Result<Self> {
        let find = |name: &str| {
            locate(name, search_path).ok_or_else(|| {
                let why = "the kernel comes from Debian's packages, and it is missing";
                Error::new(ErrorKind::Unavailable, WHAT, why)
                    .on(name)
                    .hint("name a kernel: agentkernel setup microvm --kernel FILE")
            })
        };
        Ok(Self { apt_cache: find("apt-cache")?, apt_get: find("apt-get")?, dpkg: find("dpkg")? })
    }

    /// The package of the current version: the one without a version is empty, and depends on it.
    fn current_package(&self) -> Result<String> {
        let words = ["depends", "--important", PACKAGE];
        let text = run(Path::new("/"), &self.apt_cache, &words, ASK_DEADLINE)?;
        let mut packages = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = packages.find(|name| name.starts_with("linux-image-"));
        found.map(str::to_owned).ok_or_else(|| failed("no such package is known here"))
    }

    fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        // apt's own user cannot write into a folder of ours.
        let words = ["-qq", "-o", "APT::Sandbox::User=root", "download", package];
        run(folder, &self.apt_get, &words, DOWNLOAD_DEADLINE)?;
        let file = entries(folder).find(|path| path.extension().is_some_and(|kind| kind == "deb"));
        file.ok_or_else(|| failed("nothing was downloaded"))
    }

    fn unpack(&self, file: &Path, folder: &Path) -> Result<()> {
        let (file, to) = (file.display().to_string(), folder.display().to_string());
        run(Path::new("/"), &self.dpkg, &["-x", &file, &to], DOWNLOAD_DEADLINE).map(drop)
    }
}

/// Runs a program in a folder, and gives what it prints. These programs look for others of theirs in PATH.
fn run(folder: &Path, program: &Path, words: &[&str], deadline: Duration) -> Result<String> {
    in_folder(folder, program, words)?.output(deadline).map_err(failed)
}

fn in_folder(folder: &Path, program: &Path, words: &[&str]) -> Result<Program> {
    const SCRIPT: &str = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; cd \"$1\"; shift; exec \"$@\"";
    let shell = Program::new(Path::new("/bin/sh")).map_err(failed)?;
    let (folder, program) = (folder.display().to_string(), program.display().to_string());
    let all = ["-c", SCRIPT, "sh", &folder, &program].into_iter().chain(words.iter().copied());
    Ok(all.fold(shell, Program::argument))
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, WHAT, why)
        .on(PACKAGE)
        .hint("as root: apt-get update; or name a kernel: agentkernel setup microvm --kernel FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_unpacked_block_by_block_and_nonsense_is_refused() {
        let block = lz4_flex_block();
        let mut payload = LZ4_LEGACY.to_vec();
        for _ in 0..2 {
            payload.extend_from_slice(&u32::try_from(block.len()).expect("short").to_le_bytes());
            payload.extend_from_slice(&block);
        }
        payload.extend_from_slice(&[6, 0, 0, 0]);
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).expect("short").to_le_bytes());
        image.extend_from_slice(&payload);
        assert_eq!(extract(&image).expect("unpacked"), b"abcabc");
        let whole = image.len();
        assert!(extract(&image[..whole - 1]).is_err() && extract(b"").is_err());
        image[1024] = 0xfd;
        assert!(extract(&image).expect_err("xz").contains("not known"));
    }

    /// Three literals: a token with their number, and they.
    fn lz4_flex_block() -> Vec<u8> {
        vec![0x30, b'a', b'b', b'c']
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused_by_name() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("kernel");
        fs::write(&file, "#!/bin/sh").expect("written");
        let error = from_file(home.path(), &file).expect_err("refused");
        assert!(error.to_string().contains("it is no ELF file") && error.kind == ErrorKind::Usage, "{error}");
        assert!(from_file(home.path(), Path::new("/nowhere")).is_err());
    }
}
