//! Rules of isolation: what a sandbox is not shown and cannot change.

mod privileges;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use agentkernel_core::{Command, Posture, Sandbox};

use super::context::{Context, WORKSPACE, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same};
use super::talk::{run, sh, text_of};
use crate::random_u64;

pub use privileges::RULES as PRIVILEGES;

pub const RULES: &[Rule] = &[
    rule!(
        "isolation.posture_holds",
        Needs::Boundary,
        posture,
        "Every control of a live sandbox holds, read from the host."
    ),
    rule!(
        "isolation.namespaces_are_new",
        Needs::SharedKernel,
        namespaces,
        "No namespace of a sandbox is the host's."
    ),
    rule!(
        "isolation.siblings_share_no_namespace",
        Needs::SharedKernel,
        siblings,
        "No namespace of a sandbox is another's."
    ),
    rule!(
        "isolation.siblings_share_no_uid",
        Needs::UidBlocks,
        sibling_uids,
        "No uid of the host belongs to two live sandboxes."
    ),
    rule!(
        "isolation.hostname_is_its_own",
        Needs::Boundary,
        hostname,
        "A sandbox does not learn the host's name."
    ),
    rule!(
        "isolation.only_its_own_processes",
        Needs::Boundary,
        processes,
        "A sandbox sees its own processes and no other."
    ),
    rule!(
        "isolation.no_network",
        Needs::Boundary,
        network,
        "A sandbox has a loopback of its own and no other network."
    ),
    rule!(
        "isolation.root_is_read_only",
        Needs::Boundary,
        read_only,
        "The root file system cannot be changed."
    ),
    rule!(
        "isolation.writable_places",
        Needs::Boundary,
        writable,
        "/workspace, /tmp and /dev/shm are writable, without devices and set-uid."
    ),
    rule!(
        "isolation.host_files_are_invisible",
        Needs::Boundary,
        host_files,
        "No file of the host beyond the image is visible."
    ),
    rule!(
        "isolation.host_environment_is_invisible",
        Needs::Boundary,
        host_environment,
        "No process in a sandbox holds a variable of the host's."
    ),
];

async fn posture(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    holds(&sandbox.posture().await?)?;
    // And once more, after a command has run.
    run(&*sandbox, &Command::new(["true"])).await?;
    holds(&sandbox.posture().await?)?;
    stop(sandbox).await.map(drop)
}

fn holds(posture: &Posture) -> Kept {
    let control = |control: &agentkernel_core::Control| {
        format!("\n  {}: {}, expected {}", control.name, control.actual, control.expected)
    };
    let broken: String = posture.broken().map(control).collect();
    let count = posture.controls.len();
    ensure!(posture.holds(), "of {count} controls these do not hold:{broken}");
    Ok(())
}

const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

async fn namespaces_of(sandbox: &dyn Sandbox) -> Result<BTreeSet<String>, Broken> {
    let script = format!("for name in {}; do readlink /proc/self/ns/$name; done", NAMESPACES.join(" "));
    let found: BTreeSet<String> = text_of(sandbox, &script).await?.lines().map(str::to_owned).collect();
    same("number of namespaces", found.len(), NAMESPACES.len())?;
    Ok(found)
}

async fn namespaces(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let inside = namespaces_of(&*sandbox).await?;
    for name in NAMESPACES {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
        ensure!(!inside.contains(&host), "{host} is the host's");
    }
    stop(sandbox).await.map(drop)
}

async fn siblings(context: &Context<'_>) -> Kept {
    let (one, other) = (context.boot().await?, context.boot().await?);
    let (of_one, of_other) = (namespaces_of(&*one).await?, namespaces_of(&*other).await?);
    let shared: Vec<&String> = of_one.intersection(&of_other).collect();
    ensure!(shared.is_empty(), "two sandboxes share {shared:?}");
    stop(one).await?;
    stop(other).await.map(drop)
}

async fn sibling_uids(context: &Context<'_>) -> Kept {
    let (one, other) = (context.boot().await?, context.boot().await?);
    for map in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let script = format!("cat {map}");
        let (of_one, of_other) = (text_of(&*one, &script).await?, text_of(&*other, &script).await?);
        for (begin, length) in blocks(&of_one)? {
            let overlap = blocks(&of_other)?.into_iter().find(|(other_begin, other_length)| {
                begin < other_begin + other_length && *other_begin < begin + length
            });
            ensure!(overlap.is_none(), "{map}: {of_one:?} and {of_other:?} overlap");
        }
    }
    stop(one).await?;
    stop(other).await.map(drop)
}

/// The blocks of the parent namespace in a uid or gid map, as first and count.
fn blocks(map: &str) -> Result<Vec<(u64, u64)>, Broken> {
    let block = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().skip(1).map(|word| word.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    let blocks: Option<Vec<_>> = map.lines().map(block).collect();
    blocks.filter(|blocks| !blocks.is_empty()).ok_or_else(|| Broken(format!("not a map: {map:?}")))
}

async fn hostname(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let path = "/proc/sys/kernel/hostname";
    let host = std::fs::read_to_string(path)?;
    let inside = text_of(&*sandbox, &format!("cat {path}")).await?;
    ensure!(!inside.is_empty() && inside != host.trim_end(), "its name is {inside:?}, and so is the host's");
    stop(sandbox).await.map(drop)
}

async fn processes(context: &Context<'_>) -> Kept {
    const PROCESSES_MAX: usize = 8;
    let sandbox = context.boot().await?;
    let words = text_of(&*sandbox, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0\\n' '\\n '").await?;
    let own = std::fs::read("/proc/self/cmdline")?;
    let own = String::from_utf8_lossy(own.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    ensure!(!words.lines().any(|word| word == own), "it sees this very test: {own}");
    let count = text_of(&*sandbox, "ls -d /proc/[0-9]*").await?.lines().count();
    ensure!(count <= PROCESSES_MAX, "it sees {count} processes");
    stop(sandbox).await.map(drop)
}

async fn network(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = format!(":{:04X} ", listener.local_addr()?.port());
    let sockets = text_of(&*sandbox, "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true").await?;
    ensure!(!sockets.contains(&port), "it sees a listener of the host's");
    let interfaces = text_of(&*sandbox, "cat /proc/net/dev").await?;
    let names = interfaces.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let others: Vec<&str> = names.filter(|name| *name != "lo").collect();
    ensure!(others.is_empty(), "it has the interfaces {others:?}");
    drop(listener);
    stop(sandbox).await.map(drop)
}

/// Options of the mount at a place, as the sandbox sees them.
async fn mount_options(sandbox: &dyn Sandbox, place: &str) -> Result<BTreeSet<String>, Broken> {
    let mounts = text_of(sandbox, "cat /proc/self/mountinfo").await?;
    let last = mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some(place));
    let line = last.ok_or_else(|| Broken(format!("{place} is no mount of its own")))?;
    Ok(line.split(' ').nth(5).unwrap_or_default().split(',').map(str::to_owned).collect())
}

async fn read_only(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    ensure!(mount_options(&*sandbox, "/").await?.contains("ro"), "the root is mounted read-write");
    for place in ["/", "/usr", "/etc", "/bin"] {
        let said = run(&*sandbox, &sh(&format!("touch {place}/ak-probe"))).await?;
        ensure!(!said.exited.status.is_success(), "a file was made in {place}");
    }
    stop(sandbox).await.map(drop)
}

async fn writable(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for place in [WORKSPACE, "/tmp", "/dev/shm"] {
        let options = mount_options(&*sandbox, place).await?;
        let expected: &[&str] = if context.has_own_kernel() { &["rw"] } else { &["rw", "nosuid", "nodev"] };
        for option in expected {
            ensure!(options.contains(*option), "{place} is mounted without {option}: {options:?}");
        }
        let script = format!("echo written >{place}/file && cat {place}/file && rm {place}/file");
        same(place, text_of(&*sandbox, &script).await?, "written".to_owned())?;
    }
    stop(sandbox).await.map(drop)
}

async fn host_files(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let folder = tempfile::tempdir()?;
    let secret = format!("{:016x}", random_u64());
    let canary = folder.path().join("canary");
    std::fs::write(&canary, &secret)?;
    let path = canary.display();
    let script = format!("cat {path} /proc/1/root{path} /proc/self/root{path} 2>/dev/null; true");
    ensure!(!text_of(&*sandbox, &script).await?.contains(&secret), "it reads {path} of the host");
    for home in ["/root", "/home"].map(Path::new).into_iter().filter(|home| home.is_dir()) {
        let inside = text_of(&*sandbox, &format!("ls -A {} 2>/dev/null; true", home.display())).await?;
        ensure!(inside.is_empty(), "{} holds {inside:?}", home.display());
    }
    stop(sandbox).await.map(drop)
}

async fn host_environment(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let environments = text_of(&*sandbox, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").await?;
    let inside: BTreeSet<&[u8]> = environments.lines().map(str::as_bytes).collect();
    for (name, value) in std::env::vars_os() {
        // What every environment holds, in the same words, is no secret.
        let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
        let is_common =
            ["PATH", "HOME", "TERM", "PWD", "SHLVL", "LANG", "_"].iter().any(|common| name == *common);
        ensure!(is_common || !inside.contains(entry.as_slice()), "it reads {} of the host", name.display());
    }
    stop(sandbox).await.map(drop)
}
