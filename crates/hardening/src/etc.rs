//! The `/etc` of the `host` image: what is made up, and what is taken from the host.

use agentkernel_core::{SandboxName, User};

/// Folders of the host's /etc that programs and libraries in /usr are incomplete without. None can
/// hold a secret: links to programs, public certificates, the interpreters' own settings.
pub const HOST_FOLDERS: &[&str] = &[
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
pub const HOST_FILES: &[&str] =
    &["ld.so.cache", "magic", "magic.mime", "mime.types", "protocols", "services", "ssl/openssl.cnf"];

/// Links, by the path from the root.
pub const LINKS: [(&str, &str); 3] = [
    ("etc/mtab", "/proc/self/mounts"),
    ("etc/os-release", "../usr/lib/os-release"),
    ("etc/localtime", "/usr/share/zoneinfo/UTC"),
];

/// Files that say nothing about the host: path from the root, and content.
#[must_use]
pub fn files(user: User, name: &SandboxName) -> [(&'static str, String); 7] {
    let mut passwd = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
    let mut group = "root:x:0:\n".to_owned();
    if user.uid != 0 {
        passwd += &format!("sandbox:x:{}:{}:sandbox:/workspace:/bin/sh\n", user.uid, user.gid);
        group += &format!("sandbox:x:{}:\n", user.gid);
    }
    passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    group += "nogroup:x:65534:\n";
    [
        ("etc/passwd", passwd),
        ("etc/group", group),
        ("etc/hostname", format!("{name}\n")),
        ("etc/hosts", format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost\n")),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("etc/resolv.conf", String::new()),
        ("etc/shells", "/bin/sh\n/bin/bash\n".to_owned()),
    ]
}
