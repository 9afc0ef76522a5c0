//! Copies out of a sandbox.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agentkernel_api::FileKind;
use agentkernel_client::{Client, Download};
use agentkernel_core::{Error, ErrorKind};

use super::{bridge, is_content, last_part, trimmed, unpack};
use crate::cli::daemon;
use crate::errors::Failure;
use crate::output::Plain;

/// A file, a link or a folder onto this host.
pub async fn to_host(client: &Client, name: &str, path: &[u8], target: &Path) -> Result<(), Failure> {
    let found = client.stat(name, whole(path), false).await;
    let found = daemon::told(client, name, found).await?;
    let target = place(path, found.kind, target)?;
    let archive = client.pack(name, whole(path)).await?;
    receive(archive, target).await
}

/// A tar archive to stdout.
pub async fn to_stdout(client: &Client, name: &str, path: &[u8]) -> Result<(), Failure> {
    let archive = client.pack(name, whole(path)).await;
    let mut archive = daemon::told(client, name, archive).await?;
    let mut output = Plain::default();
    while let Some(bytes) = output.or_gone(archive.next()).await? {
        output.write(bytes).await?;
    }
    output.finish().await
}

/// The path without what only says how to copy.
fn whole(path: &[u8]) -> &[u8] {
    match trimmed(path) {
        b"" => b"/",
        path => path,
    }
}

/// What the copy becomes on this host.
fn place(path: &[u8], kind: FileKind, target: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: &str| {
        Err(Error::new(ErrorKind::File, "copy out of the sandbox", why).on(target.display()).into())
    };
    let bytes = target.as_os_str().as_bytes();
    let found = fs::metadata(target);
    match found {
        Ok(facts) if facts.is_dir() => match last_part(path) {
            Some(name) if !is_content(path) => Ok(target.join(std::ffi::OsStr::from_bytes(name))),
            _ => canonical(target),
        },
        Ok(_) if kind == FileKind::Dir => refused("a folder cannot replace a file"),
        Ok(_) => Ok(target.to_owned()),
        Err(_) if kind != FileKind::Dir && bytes.ends_with(b"/") => refused("there is no such folder"),
        Err(_) => Ok(PathBuf::from(std::ffi::OsStr::from_bytes(trimmed(bytes)))),
    }
}

/// A folder by a name that it has of its own, even if it was called '.'.
fn canonical(target: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(target).map_err(|why| failed(target, &why))
}

/// Unpacks in a thread what comes.
async fn receive(mut archive: Download, target: PathBuf) -> Result<(), Failure> {
    let (pieces, reader) = bridge::reader();
    let place = target.clone();
    let writing = tokio::task::spawn_blocking(move || unpack::unpack(reader, &place));
    let mut lost = None;
    loop {
        match archive.next().await {
            // If nobody takes it, the thread has ended, and says why.
            Ok(piece) => {
                let is_last = piece.is_none();
                if pieces.send(piece).await.is_err() || is_last {
                    break;
                }
            }
            Err(error) => {
                lost = Some(error);
                break;
            }
        }
    }
    drop(pieces);
    let written = writing.await.unwrap_or_else(|why| Err(io::Error::other(why)));
    match lost {
        Some(error) => Err(error.into()),
        None => written.map_err(|why| failed(&target, &why)),
    }
}

fn failed(target: &Path, why: &io::Error) -> Failure {
    Error::new(ErrorKind::File, "copy out of the sandbox", why).on(target.display()).into()
}
