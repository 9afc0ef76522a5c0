//! The name of an image that somebody else keeps.

use std::fmt;
use std::str::FromStr;

use super::Image;
use crate::{Error, ErrorKind, Result};

/// Where an image is, in the words of container engines: `[REGISTRY/]NAME[:TAG][@sha256:DIGEST]`, so written that it can
/// be nothing else: with a `/`, a `:` or an `@` in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// Longest name of all that registries take.
    const LENGTH_MAX: usize = 255;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Image {
    /// Refuses, with its name, what a backend for Linux programs cannot run that keeps no images itself.
    pub fn refuse_unless_files(&self) -> Result<()> {
        let refused = |why| Error::new(ErrorKind::ControlRefused, "start the sandbox", why);
        match self {
            Self::Host | Self::Rootfs(_) => Ok(()),
            Self::Named(name) => Err(refused("this backend keeps no images")
                .on(format!("image {name}"))
                .hint("use --backend docker or podman, or a folder with --rootfs")),
            Self::Module(module) => Err(refused("this backend runs Linux programs")
                .on(format!("module {}", module.path().display()))
                .hint("use --backend wasm")),
        }
    }
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = |why: &str| {
            let shown = text.chars().take(100).collect::<String>();
            Err(format!("'{}' is not the name of an image: {why}", shown.escape_debug()))
        };
        if text.len() > Self::LENGTH_MAX {
            return wrong("it is too long");
        }
        if !text.contains(['/', ':', '@']) {
            return wrong(
                "write its registry or its tag as well, as in docker.io/library/busybox or busybox:latest",
            );
        }
        let (named, digest) =
            text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return wrong("after '@' comes sha256: and 64 hexadecimal digits");
        }
        // A colon before the last slash is that of a port.
        let after_slash = named.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match named[after_slash..].split_once(':') {
            Some((last, tag)) => (&named[..after_slash + last.len()], Some(tag)),
            None => (named, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return wrong("a tag has letters, digits, '_', '.' and '-'");
        }
        let mut parts = path.split('/');
        let first = parts.next().unwrap_or_default();
        let is_registry = path.contains('/');
        if !(is_part(first) || is_registry && is_host(first)) || !parts.all(is_part) {
            return wrong("its parts have small letters and digits, with '.', '_' or '-' between them");
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_digest(digest: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
        && tag.bytes().next().is_some_and(is_word)
}

/// Small letters and digits, and something between them.
fn is_part(part: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(is_letter))
        && part.bytes().all(|byte| is_letter(byte) || b"._-".contains(&byte))
        && !part.contains("..")
}

/// A registry with its port.
fn is_host(host: &str) -> bool {
    host.split_once(':').is_some_and(|(name, port)| is_part(name) && port.parse::<u16>().is_ok())
}

impl fmt::Display for ImageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_registries_and_cannot_be_anything_else() {
        let digest = format!("busybox@sha256:{}", "0a".repeat(32));
        for name in [
            "busybox:latest",
            "docker.io/library/busybox",
            "localhost:5000/team/tool:1.2-rc_3",
            "ghcr.io/a/b-c/d__e:V1",
            &digest,
        ] {
            assert_eq!(name.parse::<ImageName>().expect("a name").as_str(), name);
        }
        let short = format!("busybox@sha256:{}", "0a".repeat(31));
        let long = format!("a/{}", "b".repeat(300));
        for wrong in [
            "",
            "busybox",
            "host",
            "hots",
            "-v/x",
            "--privileged:x",
            "a/../b",
            "../a",
            "/etc/passwd",
            "a//b",
            "a/",
            "a:",
            "a:b:c",
            "a:-x",
            "A/b",
            "a b/c",
            "a/b\n",
            "a/b\0",
            "a/b?x=1",
            "a/b&tag=x",
            "a/b#c",
            "a/b%2e",
            "x:99999/y",
            "é/b",
            "volume=/:/host",
            &short,
            &long,
        ] {
            assert!(wrong.parse::<ImageName>().is_err(), "{wrong:?}");
        }
    }
}
