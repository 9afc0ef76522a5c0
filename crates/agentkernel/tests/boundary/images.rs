//! Root folders and mounts that the user names.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use agentkernel_testkit::{Finished, TestEnvironment, tool_or_skip};

use crate::support::{PROGRAM, fixture};

/// A root folder with busybox, a link at its top, and links in the place of /proc and /dev.
pub fn rootfs(at: &Path) -> Option<()> {
    let busybox = tool_or_skip("busybox")?;
    fs::create_dir_all(at.join("usr/bin")).expect("made");
    fs::copy(busybox, at.join("usr/bin/busybox")).expect("copied");
    for name in ["sh", "cat", "ls", "id", "touch"] {
        symlink("busybox", at.join("usr/bin").join(name)).expect("linked");
    }
    symlink("usr/bin", at.join("bin")).expect("linked");
    symlink("/etc", at.join("proc")).expect("linked");
    symlink("/", at.join("dev")).expect("linked");
    fs::write(at.join("marker"), "of the image").expect("written");
    fs::set_permissions(at.join("marker"), fs::Permissions::from_mode(0o644)).expect("set");
    Some(())
}

fn run(environment: &TestEnvironment, words: &[&str]) -> Finished {
    environment.run(PROGRAM, words)
}

#[tokio::test]
async fn a_root_folder_is_used_and_never_changed() {
    if fixture().await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let folder = environment.work().join("root");
    if rootfs(&folder).is_none() {
        return;
    }
    let before: Vec<_> = names(&folder);
    let script =
        "cat /marker; ls -d /proc/self /dev/null; touch /marker /x /usr/x 2>&1; cat /etc/passwd 2>&1";
    let path = folder.to_str().expect("UTF-8");
    let text = run(&environment, &["run", "--rootfs", path, "--", "sh", "-c", script]).stdout_text();
    assert!(text.starts_with("of the image/dev/null\n/proc/self\n"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 3, "{text}");
    assert!(!text.contains("root:"), "the host's /etc is not visible: {text}");
    assert_eq!(names(&folder), before);
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("listed").map(|entry| entry.expect("entry").file_name()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_mount_can_be_read_or_written_as_it_was_said_and_keeps_its_owner() {
    if fixture().await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let folder = environment.work().join("data");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("in"), "from the host").expect("written");
    let path = folder.to_str().expect("UTF-8");
    let read_only = format!("{path}:/mnt/data:ro");
    let script = "cat /mnt/data/in && touch /mnt/data/out";
    let refused = run(&environment, &["run", "-v", &read_only, "--", "sh", "-c", script]);
    assert_eq!(refused.stdout_text(), "from the host");
    assert!(refused.stderr_text().contains("Read-only file system"), "{}", refused.stderr_text());
    assert!(!folder.join("out").exists());

    let read_write = format!("{path}:/workspace/data");
    let script = "echo back >data/out && stat -c %u data/in data/out";
    let allowed = run(&environment, &["run", "-v", &read_write, "--", "sh", "-c", script]).assert_success();
    assert_eq!(allowed.stdout_text(), "65532\n65532\n", "inside, they are the sandbox's");
    assert_eq!(fs::read_to_string(folder.join("out")).expect("read"), "back\n");
    let uid = fs::metadata(&folder).expect("facts").uid();
    assert_eq!(fs::metadata(folder.join("out")).expect("facts").uid(), uid, "on disk, its owner's");
}

#[tokio::test]
async fn a_socket_cannot_be_mounted() {
    if fixture().await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let path = environment.work().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let mount = format!("{}:/mnt/socket", path.display());
    let refused = run(&environment, &["run", "-v", &mount, "--", "true"]);
    assert!(!refused.status.success());
    assert!(refused.stderr_text().contains("folders and regular files"), "{}", refused.stderr_text());
}

#[tokio::test]
async fn a_link_of_the_image_does_not_lead_a_mount_to_the_host() {
    if fixture().await.is_none() {
        return;
    }
    let environment = TestEnvironment::new();
    let (folder, outside) = (environment.work().join("root"), environment.work().join("outside"));
    if rootfs(&folder).is_none() {
        return;
    }
    fs::create_dir(&outside).expect("made");
    symlink(&outside, folder.join("opt")).expect("linked");
    let path = folder.to_str().expect("UTF-8");
    let mount = format!("{path}:/opt/data:ro");
    let _whatever = run(&environment, &["run", "--rootfs", path, "-v", &mount, "--", "ls", "/"]);
    assert_eq!(fs::read_dir(&outside).expect("listed").count(), 0, "something was made on the host");
}
