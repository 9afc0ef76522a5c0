//! `agentkernel cp`: files and folders in and out of a sandbox.
//!
//! Where a copy goes follows docker cp: a folder that exists takes the source under its own name (or, if the source
//! ends in `/.`, what is in it); a target that does not exist becomes the copy.

mod bridge;
mod inward;
mod outward;
mod pack;
mod unpack;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use agentkernel_core::Result;

use super::daemon;
use super::flags::usage;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::terminal;

/// Where paths that do not begin with / start from, in a sandbox.
const WORKSPACE: &[u8] = b"/workspace/";

/// Copy files and folders into a sandbox, or out of it
///
/// One of the two is NAME:PATH. A folder that exists takes the copy under its own name; with /. at the end of SRC,
/// it takes what is in SRC. With - a tar archive comes from standard input, or goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// What is copied: PATH, NAME:PATH or -
    #[arg(value_name = "SRC")]
    source: OsString,

    /// Where to: PATH, NAME:PATH or -
    #[arg(value_name = "DST")]
    target: OsString,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel cp ./src web:/workspace
  agentkernel cp ./src/. web:app
  agentkernel cp web:/workspace/report.pdf .
  tar c src | agentkernel cp - web:/workspace
  agentkernel cp web:/workspace - | tar t";

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    /// A path of this host.
    Host(PathBuf),
    /// A tar archive on our standard streams.
    Archive,
    /// A path of a sandbox.
    Sandbox {
        /// Its name or id.
        name: String,
        /// The absolute path, as it was typed.
        path: Vec<u8>,
    },
}

/// Copies.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let (source, target) = (side(&args.source)?, side(&args.target)?);
    check_terminal(&source, &target)?;
    daemon::ask(environment, async |client| {
        match (source, target) {
            (Side::Host(source), Side::Sandbox { name, path }) => {
                inward::from_host(&client, &source, &name, &path).await?;
            }
            (Side::Archive, Side::Sandbox { name, path }) => {
                inward::from_stdin(&client, &name, &path).await?;
            }
            (Side::Sandbox { name, path }, Side::Host(target)) => {
                outward::to_host(&client, &name, &path, &target).await?;
            }
            (Side::Sandbox { name, path }, Side::Archive) => {
                outward::to_stdout(&client, &name, &path).await?;
            }
            _ => {
                let error = usage("SRC DST", "one of them must be in a sandbox, and the other not");
                return Err(error.hint("write for example: agentkernel cp ./file NAME:/workspace").into());
            }
        }
        Ok(0)
    })
}

/// That an archive is neither typed nor read by a person.
fn check_terminal(source: &Side, target: &Side) -> Result<()> {
    let (stream, hint) = if *source == Side::Archive && terminal::is_stdin() {
        ("standard input", "write for example: tar c FOLDER | agentkernel cp - NAME:/workspace")
    } else if *target == Side::Archive && terminal::is_stdout() {
        ("standard output", "write for example: agentkernel cp NAME:/workspace - | tar t")
    } else {
        return Ok(());
    };
    Err(usage("-", format!("a tar archive is meant, and {stream} is a terminal")).hint(hint))
}

/// What a word means. What has a / before its first colon is a path of this host.
fn side(word: &OsStr) -> Result<Side> {
    let bytes = word.as_bytes();
    if bytes == b"-" {
        return Ok(Side::Archive);
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    let Some(colon) = colon.filter(|colon| *colon > 0 && !bytes[..*colon].contains(&b'/')) else {
        return if bytes.is_empty() {
            Err(usage("''", "a path is empty"))
        } else {
            Ok(Side::Host(word.into()))
        };
    };
    let name = str::from_utf8(&bytes[..colon]).map_err(|_| usage(word.display(), "the name is not UTF-8"))?;
    let path = &bytes[colon + 1..];
    let path = match path {
        [] => return Err(usage(word.display(), "the path in the sandbox is empty")),
        [b'/', ..] => path.to_vec(),
        relative => [WORKSPACE, relative].concat(),
    };
    Ok(Side::Sandbox { name: name.to_owned(), path })
}

/// The last part of a path; `None` where it has none, as `/` and `..`.
fn last_part(path: &[u8]) -> Option<&[u8]> {
    let part = trimmed(path).rsplit(|byte| *byte == b'/').next()?;
    (!matches!(part, b"" | b"." | b"..")).then_some(part)
}

/// A path without slashes at its end, and without the `/.` that says: what is in it.
fn trimmed(path: &[u8]) -> &[u8] {
    let mut path = path;
    loop {
        path = match path {
            [rest @ .., b'/', b'.'] => rest,
            [rest @ .., b'/'] => rest,
            _ => return path,
        };
    }
}

/// Whether what is in a folder is meant, and not the folder.
fn is_content(path: &[u8]) -> bool {
    path == b"." || path.ends_with(b"/.")
}

/// `folder` and `name` as one path.
fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [trimmed(folder), b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(name: &str, path: &[u8]) -> Side {
        Side::Sandbox { name: name.into(), path: path.to_vec() }
    }

    #[test]
    fn a_name_before_the_colon_is_a_sandbox_and_a_path_is_a_path() {
        let side = |text: &str| side(OsStr::new(text)).expect("a side");
        assert_eq!(side("-"), Side::Archive);
        assert_eq!(side("web:/etc/x:y"), sandbox("web", b"/etc/x:y"));
        assert_eq!(side("web:src"), sandbox("web", b"/workspace/src"));
        for path in ["./web:/x", "/a:b", "file", ":x", "../-"] {
            assert_eq!(side(path), Side::Host(path.into()), "{path}");
        }
        assert!(super::side(OsStr::new("web:")).is_err() && super::side(OsStr::new("")).is_err());
    }

    #[test]
    fn paths_are_taken_apart_as_docker_does() {
        assert_eq!(last_part(b"/a/b/"), Some(&b"b"[..]));
        assert_eq!(last_part(b"/a/b/."), Some(&b"b"[..]));
        assert_eq!([last_part(b"/"), last_part(b"."), last_part(b"a/..")], [None; 3]);
        assert!(is_content(b"a/.") && is_content(b".") && !is_content(b"a/.b") && !is_content(b"a."));
        assert_eq!(joined(b"/a/", b"b"), b"/a/b");
        assert_eq!(joined(b"/", b"b"), b"/b");
    }
}
