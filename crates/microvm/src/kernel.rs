//! The kernel that machines run: kept in a folder, with the modules it needs and what it is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::plan::VmmKind;

/// Drivers that a machine needs, where the kernel has them as modules: the bus, the port, the disk, randomness, the layers, the
/// host's calls, and what gives memory back.
const MODULES: [&str; 7] = [
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_rng",
    "overlay",
    "vmw_vsock_virtio_transport",
    "virtio_balloon",
];

/// What tells the host which memory is free.
const BALLOON: &str = "virtio_balloon.ko";

/// Those of a device that machines of the other VMM alone have, with what only they need.
const OF_QEMU: [&str; 1] = ["virtio_console.ko"];
const OF_FIRECRACKER: [&str; 3] =
    ["vsock.ko", "vmw_vsock_virtio_transport_common.ko", "vmw_vsock_virtio_transport.ko"];

const KERNEL: &str = "vmlinux";
const FOLDER: &str = "kernel";
const ABOUT: &str = "about.json";

/// `e_ident` and `e_machine` of a 64-bit program for x86-64 (`elf(5)`).
const ELF_64: [u8; 5] = [0x7f, b'E', b'L', b'F', 2];
const X86_64: [u8; 2] = [62, 0];

/// What is known of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Where it came from, for a person: a package and its version, or a file.
    pub source: String,
    /// SHA-256 of the kernel's file, in hexadecimal.
    pub sha256: String,
    /// Its modules, in the order of loading: names of files.
    pub modules: Vec<String>,
}

impl Kernel {
    /// Whether its host can call its guest. What it has no modules for is built in.
    pub(crate) fn has_vsock(&self) -> bool {
        self.has(&OF_FIRECRACKER)
    }

    /// Whether its guest gives memory back. One of an earlier setup may not.
    pub(crate) fn has_balloon(&self) -> bool {
        self.has(&[BALLOON])
    }

    fn has(&self, names: &[&str]) -> bool {
        self.modules.is_empty() || names.iter().all(|name| self.modules.iter().any(|module| module == name))
    }
}

/// Where a kernel is kept.
#[derive(Debug, Clone)]
pub struct KernelStore(PathBuf);

impl KernelStore {
    /// The one below this folder.
    #[must_use]
    pub fn below(home: &Path) -> Self {
        Self(home.join(FOLDER))
    }

    /// The kernel's file.
    pub(crate) fn image(&self) -> PathBuf {
        self.0.join(KERNEL)
    }

    /// What there is; `None` if there is no kernel.
    pub fn find(&self) -> Result<Option<Kernel>> {
        let path = self.0.join(ABOUT);
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Host, "find the kernel", why)
                .on(path.display())
                .hint("agentkernel setup microvm makes it anew")
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|why| failed(&why)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(failed(&why)),
        }
    }

    /// The content of the modules that this VMM's machines use, in the order of loading.
    pub(crate) fn modules(&self, kernel: &Kernel, vmm: VmmKind) -> io::Result<Vec<(String, Vec<u8>)>> {
        let others: &[&str] = match vmm {
            VmmKind::Qemu => &OF_FIRECRACKER,
            VmmKind::Firecracker => &OF_QEMU,
        };
        let used = kernel.modules.iter().filter(|name| !others.contains(&name.as_str()));
        used.map(|name| Ok((name.clone(), fs::read(self.0.join(name))?))).collect()
    }

    /// Keeps a kernel in the place of the one that was there, whole or not at all.
    pub(crate) fn keep(
        &self,
        source: &str,
        image: &[u8],
        modules: &[(String, Vec<u8>)],
    ) -> io::Result<Kernel> {
        let new = self.0.with_extension(format!("new-{}", std::process::id()));
        let kernel = Kernel {
            source: source.to_owned(),
            sha256: hex(&Sha256::digest(image)),
            modules: modules.iter().map(|(name, _)| format!("{name}.ko")).collect(),
        };
        let made = (|| {
            fs::create_dir_all(&new)?;
            fs::write(new.join(KERNEL), image)?;
            // A VMM of root's is another user.
            fs::set_permissions(new.join(KERNEL), Permissions::from_mode(0o644))?;
            for (name, content) in modules {
                fs::write(new.join(format!("{name}.ko")), content)?;
            }
            fs::write(new.join(ABOUT), serde_json::to_vec_pretty(&kernel)?)?;
            if self.0.exists() {
                let old = self.0.with_extension(format!("old-{}", std::process::id()));
                fs::rename(&self.0, &old)?;
                fs::rename(&new, &self.0)?;
                return fs::remove_dir_all(&old);
            }
            fs::rename(&new, &self.0)
        })();
        if made.is_err() {
            // The error is what counts.
            fs::remove_dir_all(&new).ok();
        }
        made.map(|()| kernel)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why these bytes are no kernel that this machine can start, if they are none.
pub(crate) fn check_image(image: &[u8]) -> Result<(), String> {
    if image.starts_with(&ELF_64) && image.get(18..20) == Some(&X86_64) {
        return Ok(());
    }
    let is_bzimage = image.get(0x202..0x206) == Some(b"HdrS");
    Err(if is_bzimage {
        "it is a compressed bzImage, and an ELF vmlinux is needed".into()
    } else if image.starts_with(&ELF_64[..4]) {
        "it is an ELF file for another processor".into()
    } else {
        "it is no ELF file".into()
    })
}

/// The modules that a machine needs of those in these files, and what they need themselves, in the order of loading. What
/// is not there is taken to be built in.
pub(crate) fn needed(files: &BTreeMap<String, PathBuf>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut loaded = Vec::new();
    for name in MODULES {
        add(name, files, &mut loaded)?;
    }
    Ok(loaded)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let Some(path) = files.get(name) else { return Ok(()) };
    if loaded.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let content = fs::read(path)?;
    for dependency in dependencies(&content) {
        add(&module_name(&dependency), files, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

/// The modules that a module says it depends on (`modinfo -F depends`).
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module's file may have dashes where its name has underscores.
pub(crate) fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_depend_on_and_once() {
        let home = tempfile::tempdir().expect("a folder");
        let mut files = BTreeMap::new();
        let mut module = |name: &str, depends: &str| {
            let path = home.path().join(name);
            fs::write(&path, format!("x\0depends={depends}\0name={name}\0")).expect("written");
            files.insert(name.to_owned(), path);
        };
        module("virtio_mmio", "virtio,virtio_ring");
        module("virtio_ring", "");
        module("virtio", "");
        module("virtio_blk", "virtio,virtio-ring");
        module("another", "");
        let names: Vec<_> = needed(&files).expect("read").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk"]);
    }

    #[test]
    fn what_is_no_kernel_is_refused_by_what_it_is() {
        let mut elf = vec![0; 64];
        elf[..5].copy_from_slice(&ELF_64);
        assert!(check_image(&elf).expect_err("no machine").contains("another processor"));
        elf[18] = 62;
        assert_eq!(check_image(&elf), Ok(()));
        let mut compressed = vec![0; 0x300];
        compressed[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(check_image(&compressed).expect_err("compressed").contains("bzImage"));
        assert!(check_image(b"").expect_err("empty").contains("no ELF"));
    }

    #[test]
    fn a_kernel_is_kept_whole_and_replaced_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let store = KernelStore::below(home.path());
        assert_eq!(store.find().expect("looked"), None);
        store.keep("one", b"first", &[("a".into(), b"module".to_vec())]).expect("kept");
        let kernel = store.keep("two", b"second", &[]).expect("kept");
        assert_eq!(store.find().expect("looked"), Some(kernel.clone()));
        assert_eq!((kernel.source.as_str(), kernel.sha256.len(), kernel.modules.len()), ("two", 64, 0));
        assert_eq!(fs::read(store.image()).expect("read"), b"second");
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 1, "nothing else is left");
        fs::write(home.path().join("kernel/about.json"), "{").expect("written");
        assert!(store.find().expect_err("garbled").hint.expect("a hint").contains("setup microvm"));
    }
}
