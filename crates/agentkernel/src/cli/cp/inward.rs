//! Copies into a sandbox.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agentkernel_api::{ErrorKind as ApiKind, FileInfo, FileKind};
use agentkernel_client::{Client, Upload};
use agentkernel_core::{Error, ErrorKind};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bridge::{self, PieceWriter};
use super::{is_content, joined, last_part, pack, trimmed};
use crate::cli::daemon;
use crate::errors::{self, Failure};
use crate::input;

/// What a thread that reads has to say in the end: what it left out.
type Reading = JoinHandle<io::Result<Vec<String>>>;

/// A file or folder of this host.
pub async fn from_host(client: &Client, source: &Path, name: &str, path: &[u8]) -> Result<(), Failure> {
    let facts = fs::metadata(source).map_err(|why| failed(source, &why))?;
    let found = stat(client, name, path).await?;
    let target = target(source, facts.is_dir(), path, found.as_ref())?;
    let source = source.to_owned();
    if facts.is_dir() {
        let (pieces, reading) = read(source.clone(), pack::pack);
        return send(client.unpack(name, &target), pieces, reading, &source).await;
    }
    if !facts.is_file() {
        let why = "it is neither a file nor a folder";
        return Err(Error::new(ErrorKind::Usage, "copy into the sandbox", why).on(source.display()).into());
    }
    let (pieces, reading) = read(source.clone(), |source, mut output| {
        io::copy(&mut File::open(source)?, &mut output)?;
        output.flush().map(|()| Vec::new())
    });
    send(client.write_file(name, &target, Some(facts.mode() & 0o777)), pieces, reading, &source).await
}

/// A tar archive from stdin, into a folder that is there.
pub async fn from_stdin(client: &Client, name: &str, path: &[u8]) -> Result<(), Failure> {
    match stat(client, name, path).await? {
        Some(found) if found.kind == FileKind::Dir => {}
        Some(_) => return Err(refused(path, "an archive is unpacked into a folder, which this is not")),
        None => return Err(refused(path, "there is no such folder in the sandbox")),
    }
    let failed = |why| Error::new(ErrorKind::Host, "read stdin", why);
    let mut pieces = input::read_stdin().map_err(failed)?;
    let upload = client.unpack(name, path);
    while let Some(bytes) = pieces.recv().await {
        if !upload.write(bytes).await {
            break;
        }
    }
    Ok(upload.finish().await?)
}

/// What is at this path of the sandbox, if anything is.
async fn stat(client: &Client, name: &str, path: &[u8]) -> Result<Option<FileInfo>, Failure> {
    match client.stat(name, path, true).await {
        Ok(found) => Ok(Some(found)),
        // What else may be wrong with the path, the copy itself will find.
        Err(error) if error.kind() == Some(ApiKind::File) => Ok(None),
        Err(error) => Err(daemon::about(client, name, error).await),
    }
}

/// Where the copy goes.
fn target(source: &Path, is_dir: bool, path: &[u8], found: Option<&FileInfo>) -> Result<Vec<u8>, Failure> {
    let into_folder = found.is_some_and(|found| found.kind == FileKind::Dir);
    if !into_folder {
        return match (found, is_dir) {
            (Some(_), true) => Err(refused(path, "a folder cannot replace a file")),
            (None, false) if path.ends_with(b"/") => {
                Err(refused(path, "there is no such folder in the sandbox"))
            }
            _ => Ok(trimmed(path).to_vec()),
        };
    }
    let bytes = source.as_os_str().as_bytes();
    if is_dir && is_content(bytes) {
        return Ok(path.to_vec());
    }
    let own_name = match last_part(bytes) {
        Some(name) => name.to_vec(),
        // As '..': its name is known once it is found.
        None => {
            let whole = fs::canonicalize(source).map_err(|why| failed(source, &why))?;
            whole.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
        }
    };
    Ok(if own_name.is_empty() { path.to_vec() } else { joined(path, &own_name) })
}

/// Reads in a thread.
fn read(
    source: PathBuf,
    read: impl FnOnce(&Path, PieceWriter) -> io::Result<Vec<String>> + Send + 'static,
) -> (mpsc::Receiver<Bytes>, Reading) {
    let (writer, pieces) = bridge::writer();
    (pieces, tokio::task::spawn_blocking(move || read(&source, writer)))
}

async fn send(
    upload: Upload,
    mut pieces: mpsc::Receiver<Bytes>,
    reading: Reading,
    source: &Path,
) -> Result<(), Failure> {
    while let Some(bytes) = pieces.recv().await {
        if !upload.write(bytes).await {
            // The daemon takes no more, and says why.
            return Ok(upload.finish().await?);
        }
    }
    // Dropping the upload leaves the target as it was.
    let read = reading.await.unwrap_or_else(|why| Err(io::Error::other(why)));
    let left_out = read.map_err(|why| failed(source, &why))?;
    upload.finish().await?;
    for path in left_out {
        errors::say(&format!("left out, for it is neither a file, a folder nor a link: {path}"));
    }
    Ok(())
}

fn failed(source: &Path, why: &io::Error) -> Failure {
    Error::new(ErrorKind::File, "copy into the sandbox", why).on(source.display()).into()
}

fn refused(path: &[u8], why: &str) -> Failure {
    Error::new(ErrorKind::File, "copy into the sandbox", why).on(path.escape_ascii()).into()
}
