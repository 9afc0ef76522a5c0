//! How an engine is started.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Make, PATH};

/// The user and the group whose ids containers have, which every Debian has.
const IDS_OF: (&str, &str) = ("nobody", "nogroup");

/// Has Docker see other lists of ids than the host has, in a mount namespace of its own: the host's stay as they are.
const WITH_IDS: &str =
    "for list in subuid subgid; do mount --bind \"$0/ids\" /etc/$list || exit 99; done; exec \"$@\"";

/// Writes that list, and lets those ids reach what is theirs.
pub(super) fn give_ids(folder: &Path) {
    let (user, group) = IDS_OF;
    fs::write(folder.join("ids"), format!("{user}:600000:65536\n{group}:600000:65536\n")).expect("written");
    fs::set_permissions(folder, Permissions::from_mode(0o711)).expect("opened");
}

fn docker_words(place: &dyn Fn(&str) -> String, group: &str) -> Vec<String> {
    let own = [("data-root", place("data")), ("exec-root", place("exec")), ("pidfile", place("pid"))];
    let own = own.map(|(name, path)| format!("--{name}={path}"));
    [
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--storage-driver=overlay2",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("--cgroup-parent=/{group}")])
    .chain(own)
    .collect()
}

pub(super) fn spawn(make: Make, folder: &Path, group: &str) -> io::Result<Child> {
    let place = |name: &str| folder.join(name).display().to_string();
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let address = format!("unix://{}", place("engine.sock"));
    #[expect(clippy::disallowed_methods, reason = "the engine is beside the program under test")]
    let mut command = Command::new("setpriv");
    // It ends with the thread that runs the test, whatever ends that.
    command.args(["--pdeathsig", "TERM"]);
    match make {
        Make::Docker => {
            command.arg("dockerd").args(docker_words(&place, group)).args(["--host", &address]);
        }
        Make::DockerWithIds => {
            command
                .args(["unshare", "--mount", "--propagation", "private", "sh", "-c", WITH_IDS])
                .arg(folder);
            command.arg("dockerd").args(docker_words(&place, group)).args(["--host", &address]);
            command.arg(format!("--userns-remap={}:{}", IDS_OF.0, IDS_OF.1));
        }
        Make::Podman => {
            command.arg("podman").args(podman_words(&place));
            command.args(["system", "service", "--time", "0", &address]);
        }
    }
    command.env_clear().env("PATH", PATH).env("HOME", folder).env("TMPDIR", folder).current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// Its own storage; and runc, for the crun of Debian 12 refuses to mix both kinds of control groups.
pub(super) fn podman_words(place: &dyn Fn(&str) -> String) -> Vec<String> {
    let words = [
        "--root",
        &place("data"),
        "--runroot",
        &place("run"),
        "--tmpdir",
        &place("tmp"),
        "--runtime",
        "runc",
    ];
    words
        .into_iter()
        .chain(["--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"])
        .map(str::to_owned)
        .collect()
}
