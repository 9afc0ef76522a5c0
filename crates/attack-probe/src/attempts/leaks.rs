//! What the sandbox can learn of its host.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::attempt::{Attempt, Control, Errno, Outcome};
use crate::attempts::files::read;
use crate::situation::{Situation, contains};
use crate::sys::call;
use crate::walk::{Limits, Walked, walk};

const NO_SUCH_PATH: &[Errno] = &[libc::ENOENT, libc::ENOTDIR];

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("env-canary", Control::Host, "find a canary in the own environment", env_canary),
    Attempt::new(
        "env-agent-sockets",
        Control::Host,
        "find the name of an ssh, docker or bus socket in the environment",
        env_agent_sockets,
    ),
    Attempt::new("kernel-cmdline-canary", Control::Host, "find a canary in /proc/cmdline", |situation| {
        match fs::read("/proc/cmdline") {
            _ if situation.canaries.is_empty() => Outcome::error(NEEDS_CANARY),
            Ok(line) if situation.canary_in(&line) => Outcome::open("/proc/cmdline holds a canary"),
            Ok(_) => Outcome::blocked(0, "/proc/cmdline holds no canary"),
            Err(error) => Outcome::from(Err::<String, _>(crate::attempt::errno_of(&error))),
        }
    })
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "mountinfo-sources",
        Control::Namespaces,
        "find a canary, a named host path, /home or /root among the sources of mounts",
        mountinfo,
    ),
    Attempt::new("hostname", Control::Host, "learn the host's name", hostname),
    Attempt::new(
        "unix-sockets",
        Control::Host,
        "find a unix socket below /run, /var, /tmp, /home, /root or /workspace",
        |_| unix_sockets(),
    ),
    Attempt::new("read-shadow", Control::Host, "read /etc/shadow", |situation| {
        Outcome::from(read(situation, Path::new("/etc/shadow")))
    })
    .refused(NO_SUCH_PATH),
    Attempt::new("read-home", Control::Namespaces, "open any file below /home", |situation| {
        any_readable(situation, "/home")
    }),
    Attempt::new("read-root-home", Control::Namespaces, "open any file below /root", |situation| {
        any_readable(situation, "/root")
    }),
];

pub const NEEDS_CANARY: &str = "needs --canary";

fn env_canary(situation: &Situation) -> Outcome {
    if situation.canaries.is_empty() {
        return Outcome::error(NEEDS_CANARY);
    }
    let holds = |text: &std::ffi::OsString| situation.canary_in(text.as_encoded_bytes());
    let found = situation.environment.iter().find(|(name, value)| holds(name) || holds(value));
    match found {
        Some((name, _)) => Outcome::open(format!("{} holds a canary", name.display())),
        None => Outcome::blocked(0, format!("no canary in {} variables", situation.environment.len())),
    }
}

fn env_agent_sockets(situation: &Situation) -> Outcome {
    const NAMES: &[&str] = &[
        "SSH_AUTH_SOCK",
        "DOCKER_HOST",
        "CONTAINER_HOST",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
        "GPG_AGENT_INFO",
        "KUBECONFIG",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
    ];
    let is_one = |name: &&str| situation.environment.iter().any(|(other, _)| other == *name);
    let found: Vec<&str> = NAMES.iter().copied().filter(|name| is_one(name)).collect();
    if found.is_empty() {
        return Outcome::blocked(0, "none is set");
    }
    Outcome::open(found.join(", "))
}

fn mountinfo(situation: &Situation) -> Outcome {
    let text = match fs::read_to_string("/proc/self/mountinfo") {
        Ok(text) => text,
        Err(error) => return Outcome::error(format!("/proc/self/mountinfo: {error}")),
    };
    let telling = text.lines().filter(|line| sources(line).iter().any(|source| tells(situation, source)));
    let found: Vec<&str> = telling.take(4).collect();
    if found.is_empty() {
        return Outcome::blocked(0, format!("{} mounts tell nothing", text.lines().count()));
    }
    Outcome::open(found.join("; "))
}

/// What a line of mountinfo says of the outside: the root within the mounted file system, the source, and the
/// options of the file system. Where it is mounted is the sandbox's own affair.
fn sources(line: &str) -> Vec<&str> {
    let Some((front, back)) = line.split_once(" - ") else { return Vec::new() };
    let mut parts: Vec<&str> = front.split(' ').skip(3).take(1).collect();
    parts.extend(back.split(' ').skip(1).flat_map(|part| part.split([',', ':', '='])));
    parts
}

fn tells(situation: &Situation, source: &str) -> bool {
    let is_private = |path: &str| source.contains(&format!("{path}/")) || source.ends_with(path);
    let names_path =
        |path: &std::path::PathBuf| contains(source.as_bytes(), path.as_os_str().as_encoded_bytes());
    situation.canary_in(source.as_bytes())
        || is_private("/home")
        || is_private("/root")
        || situation.host_paths.iter().any(names_path)
}

fn hostname(situation: &Situation) -> Outcome {
    let Some(of_host) = &situation.host_hostname else { return Outcome::error("needs --host-hostname") };
    // struct utsname: six names of 65 bytes, the second one is the host's.
    let mut names = [0; 390];
    if let Err(errno) = call!(libc::SYS_uname, &mut names) {
        return Outcome::error(format!("uname failed with errno {errno}"));
    }
    let own = names[65..130].split(|byte| *byte == 0).next().unwrap_or_default();
    let shown = String::from_utf8_lossy(own);
    if own == of_host.as_encoded_bytes() {
        return Outcome::open(format!("the name is the host's: {shown}"));
    }
    Outcome::blocked(0, format!("the name is {shown}"))
}

const TREE: Limits = Limits { depth: 32, entries: 100_000 };

fn unix_sockets() -> Outcome {
    const ROOTS: &[&str] = &["/run", "/var", "/tmp", "/home", "/root", "/workspace"];
    let mut found = Vec::new();
    let walked = walk(ROOTS, TREE, |path, metadata| {
        if metadata.file_type().is_socket() {
            found.push(path.display().to_string());
        }
        if found.len() < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match walked {
        _ if !found.is_empty() => Outcome::open(found.join(", ")),
        Walked::All(seen) => Outcome::blocked(0, format!("no socket among {seen} entries")),
        _ => Outcome::error("not everything was seen"),
    }
}

fn any_readable(situation: &Situation, root: &str) -> Outcome {
    let mut opened = None;
    let walked = walk(&[root], TREE, |path, metadata| match read(situation, path) {
        Ok(detail) if metadata.is_file() => {
            opened = Some(format!("{}: {detail}", path.display()));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match (opened, walked) {
        (Some(detail), _) => Outcome::open(detail),
        (None, Walked::All(seen)) => Outcome::blocked(0, format!("none of {seen} visible entries of {root}")),
        (None, _) => Outcome::error(format!("not all of {root} was seen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_mount_says_of_the_outside_counts() {
        let situation = Situation { canaries: vec![b"canary".to_vec()], ..Situation::default() };
        let told = |line: &str| sources(line).iter().any(|source| tells(&situation, source));
        assert!(!told("1 2 0:3 / /root/home rw - tmpfs tmpfs rw"));
        assert!(!told("1 2 0:3 /rootfs / rw - ext4 /dev/vda rw"));
        assert!(told("1 2 0:3 /home/me/project /workspace rw - ext4 /dev/vda rw"));
        assert!(told("1 2 0:3 /root /workspace rw - ext4 /dev/vda rw"));
        assert!(told("1 2 0:3 / / rw - overlay overlay rw,lowerdir=/a:/root/b,upperdir=/c"));
        assert!(told("1 2 0:3 / / rw - 9p canary-share rw"));
    }
}
