//! Images: how the root file system of one comes into a folder of ours, by a container engine of this host.
//!
//! Architecture invariants:
//! - The engine's client is told words, never a line for a shell, and no name of an image can become an option.
//! - The container that an image is exported from is never started, and is removed on every way out.
//! - Nothing is written outside of the folder, whatever the image holds.

mod container;
mod engine;
mod unpack;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};
use serde::Serialize;

use container::Container;
pub use engine::{Engine, VARIABLES};

use crate::refusal::host;

/// What somebody calls an image by: `busybox`, `registry/name:tag`, `name@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name, or why it is none.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() {
            return Err("it is empty");
        }
        if name.starts_with('-') {
            return Err("it begins with '-', so that an engine would take it for an option");
        }
        if name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err("it has a blank in it");
        }
        Ok(Self(name.to_owned()))
    }

    /// The digest that it pins, if any.
    fn digest(&self) -> Option<&str> {
        self.0.rsplit_once('@').map(|(_, digest)| digest)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Which image a root folder is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// As it was named.
    pub name: String,
    /// `repository@sha256:…`, which pins it; `null` if the engine has none, as Docker of what never was in a registry.
    pub digest: Option<String>,
    /// The engine's own id of it.
    pub id: String,
    /// Who had it.
    pub engine: String,
}

impl fmt::Display for Image {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the image {} ({}) of {}", self.name, self.identity(), self.engine)
    }
}

impl Image {
    /// What there is to tell it from any other by.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.id)
    }

    /// From what the engine says: its digests, one a line, and its id in the last one.
    fn of(name: &Name, engine: &Engine, said: &str) -> Result<Self> {
        let mut lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let refused = |why: String| {
            let error = Error::new(ErrorKind::Host, "identify the image", why).on(name);
            Err(error.hint(format!("see what {} image inspect says of it", engine.name())))
        };
        let Some(id) = lines.pop() else {
            return refused(format!("{} tells no id of it", engine.name()));
        };
        // Podman leaves the algorithm out.
        let id = if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") };
        let digest_of = |line: &str| line.rsplit_once('@').map_or(String::new(), |(_, digest)| digest.into());
        let digest = match name.digest() {
            None => lines.first(),
            Some(wanted) => match lines.iter().find(|line| digest_of(line) == wanted) {
                None if id != wanted => {
                    let all = [&lines[..], &[&*id]].concat().join(", ");
                    return refused(format!("it is another one: {} has {all}", engine.name()));
                }
                found => found,
            },
        };
        let digest = digest.map(|line| (*line).to_owned());
        Ok(Self { name: name.to_string(), digest, id, engine: engine.to_string() })
    }
}

/// Unpacks the root file system of an image into `folder`, which does not exist yet.
///
/// # Errors
/// The engine does not give it, it is not the one that the name pins, or it cannot be unpacked.
pub fn fetch(engine: &Engine, name: &Name, folder: &Path) -> Result<Image> {
    container::reap(engine);
    let made = || {
        fs::create_dir(folder)?;
        // Nobody else has to do with it: what a sandbox gets is a copy.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
    };
    made().map_err(|why| host("make a folder for the image", folder.display(), why))?;
    let container = Container::create(engine, name)?;
    let fetched = container
        .image()
        .and_then(|said| Image::of(name, engine, &said))
        .and_then(|image| container.export(folder).map(|()| image));
    let removed = container.remove();
    match (fetched, removed) {
        (Err(mut error), Err(left)) => {
            error.why = format!("{}; and then: {left}", error.why);
            Err(error)
        }
        (fetched, removed) => fetched.and_then(|image| removed.map(|()| image)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, said: &str) -> Result<Image> {
        Image::of(&Name::new(name).expect("a name"), &Engine::fake(), said)
    }

    #[test]
    fn a_name_is_never_an_option_nor_two_words() {
        for name in ["", "-v", "--volume=/:/host", "a b", "a\nb"] {
            assert!(Name::new(name).is_err(), "{name:?}");
        }
        assert_eq!(Name::new("a/b:1@sha256:01").expect("a name").digest(), Some("sha256:01"));
        assert_eq!(Name::new("localhost:5000/b").expect("a name").digest(), None);
    }

    #[test]
    fn an_image_is_what_its_digest_says_and_without_one_what_its_id_says() {
        let pulled =
            image("busybox", "busybox@sha256:0a\nmirror/busybox@sha256:0b\nsha256:0c\n").expect("known");
        assert_eq!(
            (pulled.digest.as_deref(), &*pulled.id, pulled.identity()),
            (Some("busybox@sha256:0a"), "sha256:0c", "busybox@sha256:0a")
        );
        let imported = image("ours", "0c").expect("known");
        assert_eq!((imported.digest.as_deref(), imported.identity()), (None, "sha256:0c"));
        assert!(image("ours", "\n").is_err());
    }

    #[test]
    fn a_pinned_image_is_that_very_one() {
        let said = "busybox@sha256:0a\nmirror/busybox@sha256:0b\nsha256:0c\n";
        let pinned = |digest: &str| image(&format!("busybox@sha256:{digest}"), said);
        assert_eq!(pinned("0b").expect("any of its digests").identity(), "mirror/busybox@sha256:0b");
        assert_eq!(pinned("0c").expect("its id").identity(), "sha256:0c");
        for other in ["0", "0d", "0a0"] {
            let why = pinned(other).expect_err("another one").why;
            assert!(why.contains("docker has busybox@sha256:0a, mirror/"), "{why}");
        }
    }
}
