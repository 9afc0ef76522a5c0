//! The `host` image: the host's own programs and libraries, and an /etc that says nothing about it.

use std::path::{Path, PathBuf};

use agentkernel_core::SandboxSpec;

use super::{HostLayout, ROOTFS, own_folder, own_places};
use crate::plan::{BindOptions, Step};

/// Folders of the host's /etc that programs and libraries in /usr are incomplete without. None can
/// hold a secret: links to programs, public certificates, the interpreters' own settings.
const ETC_FOLDERS: &[&str] = &[
    "alternatives",
    "fonts",
    "java-17-openjdk",
    "java-21-openjdk",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "ssl/certs",
    "terminfo",
];

/// Files of the host's /etc, likewise: lists of libraries, of file types, of well-known ports.
const ETC_FILES: &[&str] =
    &["ld.so.cache", "magic", "magic.mime", "mime.types", "protocols", "services", "ssl/openssl.cnf"];

/// The steps that build it.
pub(super) fn steps(spec: &SandboxSpec, layout: &HostLayout) -> Vec<Step> {
    let mut steps = vec![Step::Bind {
        path: Path::new(ROOTFS).join("usr"),
        source: "/usr".into(),
        options: BindOptions::READ_ONLY,
    }];
    for (name, link) in &layout.folders {
        let path = Path::new(ROOTFS).join(name);
        steps.push(match link {
            Some(target) => Step::Link { path, target: target.clone() },
            None => Step::Bind { path, source: Path::new("/").join(name), options: BindOptions::READ_ONLY },
        });
    }
    steps.extend(own_places());
    for (name, mode) in [("etc", 0o755), ("home", 0o755), ("root", 0o700), ("mnt", 0o755), ("var", 0o755)] {
        steps.push(own_folder(name, mode));
    }
    steps.push(Step::Link { path: root("var/tmp"), target: "../tmp".into() });
    steps.extend(etc(spec));
    steps
}

fn root(path: &str) -> PathBuf {
    Path::new(ROOTFS).join(path)
}

fn etc(spec: &SandboxSpec) -> Vec<Step> {
    let user = spec.user();
    let mut passwd = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
    let mut group = "root:x:0:\n".to_owned();
    if user.uid != 0 {
        passwd += &format!("sandbox:x:{}:{}:sandbox:/workspace:/bin/sh\n", user.uid, user.gid);
        group += &format!("sandbox:x:{}:\n", user.gid);
    }
    passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    group += "nogroup:x:65534:\n";
    let name = spec.hostname();
    let files = [
        ("etc/passwd", passwd),
        ("etc/group", group),
        ("etc/hostname", format!("{name}\n")),
        ("etc/hosts", format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost\n")),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("etc/resolv.conf", String::new()),
        ("etc/shells", "/bin/sh\n/bin/bash\n".to_owned()),
    ];
    let mut steps: Vec<Step> =
        files.into_iter().map(|(path, content)| Step::File { path: root(path), content }).collect();
    for (path, target) in [
        ("etc/mtab", "/proc/self/mounts"),
        ("etc/os-release", "../usr/lib/os-release"),
        ("etc/localtime", "/usr/share/zoneinfo/UTC"),
    ] {
        steps.push(Step::Link { path: root(path), target: target.into() });
    }
    steps.push(Step::Folder { path: root("etc/ssl"), mode: 0o755 });
    steps.extend(ETC_FOLDERS.iter().map(|name| {
        let (path, source) = etc_of_the_host(name);
        Step::Bind { path, source, options: BindOptions::IF_PRESENT }
    }));
    steps.extend(ETC_FILES.iter().map(|name| {
        let (path, source) = etc_of_the_host(name);
        Step::Copy { path, source }
    }));
    steps
}

/// Where it goes, and where it is.
fn etc_of_the_host(name: &str) -> (PathBuf, PathBuf) {
    (root("etc").join(name), Path::new("/etc").join(name))
}
