//! The container that an image is exported from: it is made, never started, and removed.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::ChildStderr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use agentkernel_core::{Error, ErrorKind, Result};

use super::engine::{ANSWER, Engine, ending, late};
use super::{Name, unpack};
use crate::random;
use crate::sandbox::client::{has_ended, open_process};

/// How long it may take to make a container: the engine may have to pull the image first.
const PULL: Duration = Duration::from_secs(1800);

/// How long an export may take.
const EXPORT: Duration = Duration::from_secs(1800);

/// How long what is left of a broken export may take to its end.
const GRACE: Duration = Duration::from_secs(10);

/// Most that is taken of what an export complains of, bytes.
const COMPLAINT_MAX: u64 = 1 << 20;

/// Names begin with this, and go on with the PID of their owner.
const PREFIX: &str = "agentkernel-bench-";

/// The label by which containers of this host are known.
const LABEL: &str = "agentkernel-bench";

/// A digest for each of its digests, one a line, and its id.
const IDENTITY: &str = "{{range .RepoDigests}}{{println .}}{{end}}{{.Id}}";

/// A container, or the attempt at one.
#[derive(Debug)]
pub struct Container<'a> {
    engine: &'a Engine,
    image: &'a Name,
    /// Ours and known before it is made, so that it can be removed however far that came.
    name: String,
    is_removed: bool,
}

impl<'a> Container<'a> {
    /// Makes a container of the image; the engine pulls that where it is missing.
    pub fn create(engine: &'a Engine, image: &'a Name) -> Result<Self> {
        let name = format!("{PREFIX}{}-{:x}", std::process::id(), random::seed()?);
        let container = Self { engine, image, name, is_removed: false };
        let label = format!("{LABEL}={}", here());
        let reference = image.to_string();
        // An image without a command of its own needs a word, and none is ever executed.
        let words = ["create", "--name", &container.name, "--label", &label, "--network", "none", "--"];
        let words = [&words[..], &[&reference, "/bin/true"]].concat();
        match engine.ask(&words, PULL) {
            Ok(_id) => Ok(container),
            Err(why) => {
                let client = engine.name();
                let error = Error::new(ErrorKind::Unavailable, "get the image", format!("{client}: {why}"));
                Err(error.on(image).hint(format!(
                    "{client} pull {image}, or {client} load it from a file, or name a root folder by BENCH_ROOTFS"
                )))
            }
        }
    }

    fn failed(&self, what: &str, why: impl std::fmt::Display) -> Error {
        let error = Error::new(ErrorKind::Host, what, format!("{}: {why}", self.engine.name()));
        error.on(self.image).hint("try the same by hand, or name a root folder by BENCH_ROOTFS")
    }

    /// What the engine says of the image: of the very one that this was made of, wherever its name points by now.
    pub fn image(&self) -> Result<String> {
        let ask = |words: &[&str]| {
            self.engine.ask(words, ANSWER).map_err(|why| self.failed("identify the image", why))
        };
        let id = ask(&["container", "inspect", "--format", "{{.Image}}", "--", &self.name])?;
        ask(&["image", "inspect", "--format", IDENTITY, "--", id.trim()])
    }

    /// Unpacks all its files into a folder.
    pub fn export(&self, folder: &Path) -> Result<()> {
        self.exported(folder).map_err(|why| self.failed("export the image", why))
    }

    fn exported(&self, folder: &Path) -> io::Result<()> {
        let until = Instant::now() + EXPORT;
        let mut program = self.engine.begin(&["export", "--", &self.name])?;
        program.stdin = None;
        let process = open_process(program.pid())?;
        let complaint = complaint(program.stderr.take());
        let stream = program.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let unpacked = apart({
            let folder = folder.to_owned();
            move || unpack::unpack(stream, &folder)
        });
        let Ok(unpacked_well) = unpacked.recv_timeout(EXPORT) else {
            program.kill()?;
            // Whoever still writes would do so into a folder that is removed.
            drop(unpacked.recv_timeout(GRACE));
            return Err(late(EXPORT));
        };
        if !has_ended(&process, until.saturating_duration_since(Instant::now()))? {
            return Err(late(EXPORT));
        }
        let status = program.wait()?;
        // A client whose output is no longer read fails for that reason: the first reason is ours.
        let complaint = complaint.recv_timeout(GRACE).unwrap_or_default();
        let ended = || format!("{status}: {}", ending(&complaint));
        match unpacked_well {
            Ok(()) if status.success() => Ok(()),
            Ok(()) => Err(io::Error::other(ended())),
            Err(why) if status.success() => Err(why),
            Err(why) => Err(io::Error::other(format!("{why} ({})", ended()))),
        }
    }

    /// Removes it, with the volumes that its image asked for.
    pub fn remove(mut self) -> Result<()> {
        self.is_removed = true;
        remove(self.engine, &self.name).map_err(|why| {
            let error = Error::new(ErrorKind::Cleanup, "remove the container", why).on(&self.name);
            error.hint(format!("{} rm --force --volumes {}", self.engine.name(), self.name))
        })
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.is_removed {
            // Most likely it was never made, and whoever gave up tells why.
            drop(remove(self.engine, &self.name));
        }
    }
}

fn remove(engine: &Engine, name: &str) -> io::Result<()> {
    engine.ask(&["rm", "--force", "--volumes", "--", name], ANSWER).map(drop)
}

/// Removes what killed runs left on this host. That an engine does not tell or does not do it is no failure of this run.
pub fn reap(engine: &Engine) {
    let filter = format!("label={LABEL}={}", here());
    let words = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"];
    let names = engine.ask(&words, ANSWER).unwrap_or_default();
    names.lines().map(str::trim).filter(|name| is_ownerless(name)).for_each(|name| {
        remove(engine, name).ok();
    });
}

fn is_ownerless(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    let owner = owner.and_then(|(owner, _)| owner.parse::<u32>().ok());
    owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists())
}

/// Where a PID means something: an engine may serve other hosts, and other name spaces of this one.
fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let pids = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let pids: String = pids.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("{}-{pids}", boot.trim())
}

/// Does it in a thread of its own, and tells what that gave. Nobody may listen any more by then.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (say, heard) = mpsc::channel();
    std::thread::spawn(move || drop(say.send(work())));
    heard
}

/// Hears all that the client complains of, so that it never waits for a reader.
fn complaint(stream: Option<ChildStderr>) -> mpsc::Receiver<Vec<u8>> {
    apart(move || {
        let mut said = Vec::new();
        if let Some(mut stream) = stream {
            // What cannot be read any more is not told.
            stream.by_ref().take(COMPLAINT_MAX).read_to_end(&mut said).ok();
            io::copy(&mut stream, &mut io::sink()).ok();
        }
        said
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_of_ours_whose_owner_is_gone_is_ownerless() {
        let ours = format!("{PREFIX}{}-1f", std::process::id());
        // No process has this number: it is above the kernel's own limit.
        let left = format!("{PREFIX}4194305-1f");
        for (name, expected) in [(&*ours, false), (&*left, true), ("somebody-4194305-1f", false), ("", false)]
        {
            assert_eq!(is_ownerless(name), expected, "{name}");
        }
    }
}
