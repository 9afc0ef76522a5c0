//! What a machine's root is made of in tests: busybox, and of the host what busybox does otherwise than the suite expects.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentkernel_testkit::tool_or_skip;

/// Kept from run to run.
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("microvm")
}

/// Whether there is a kernel with all the modules that machines use.
pub fn has_kernel() -> bool {
    // One of an earlier setup has no balloon; one that was compiled or named by hand has all drivers built in.
    let has_all = |about: String| about.contains("virtio_balloon") || about.contains("\"modules\": []");
    fs::read_to_string(home().join("kernel/about.json")).is_ok_and(has_all)
}

/// A small system: busybox and all its words.
pub fn root() -> Option<PathBuf> {
    let busybox = tool_or_skip("busybox")?;
    let root = home().join("busybox");
    if root.exists() {
        return Some(root);
    }
    let new = home().join("busybox.new");
    fs::remove_dir_all(&new).ok();
    for place in ["bin", "usr/bin", "etc"] {
        fs::create_dir_all(new.join(place)).expect("made");
    }
    fs::copy(&busybox, new.join("bin/busybox")).expect("copied");
    #[expect(clippy::disallowed_methods, reason = "it says its own words")]
    let words = Command::new(&busybox).arg("--list").output().expect("run busybox").stdout;
    for word in String::from_utf8_lossy(&words).lines().filter(|word| *word != "busybox") {
        symlink("busybox", new.join("bin").join(word)).expect("linked");
    }
    symlink("/bin/busybox", new.join("usr/bin/env")).expect("linked");
    // busybox says "I/O error" where there is no space, and its shell runs no other `head` than its own.
    add_from_host(&new);
    fs::rename(&new, &root).expect("renamed");
    Some(root)
}

/// The host's own shell and `head`, with their library and their loader.
fn add_from_host(root: &Path) {
    for path in ["bin/sh", "bin/head"] {
        fs::remove_file(root.join(path)).expect("removed");
    }
    for path in ["bin/sh", "bin/head", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"] {
        fs::create_dir_all(root.join(path).parent().expect("a folder")).expect("made");
        fs::copy(Path::new("/").join(path), root.join(path)).expect("copied");
    }
}
