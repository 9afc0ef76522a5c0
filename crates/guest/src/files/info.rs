//! Facts of files, as records on stdout.

use std::ffi::OsStr;
use std::fs::{Metadata, read_dir, read_link, symlink_metadata};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agentkernel_protocol::{FileError, FileInfo, FileKind, encode_record};

use super::{BUFFER_LEN, During, output};

/// One record for what `path` leads to.
pub fn stat(path: &Path, follow: bool) -> Result<(), FileError> {
    let metadata = if follow { path.metadata() } else { symlink_metadata(path) }.during("stat", path)?;
    let name = path.file_name().unwrap_or(OsStr::new("/"));
    let info = info(name, path, &metadata).during("stat", path)?;
    output()?.write_all(&encode_record(&info)).during("stat", path)
}

/// One record for each entry of a folder, in the order of their names' bytes.
pub fn list(path: &Path) -> Result<(), FileError> {
    let entries = read_dir(path).during("list", path)?;
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.during("list", path)?;
    names.sort_unstable();
    let mut output = BufWriter::with_capacity(BUFFER_LEN, output()?);
    for name in names {
        let path = path.join(&name);
        let info = symlink_metadata(&path).and_then(|metadata| info(&name, &path, &metadata));
        match info {
            Ok(info) => output.write_all(&encode_record(&info)).during("list", &path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {} // removed meanwhile
            Err(error) => return Err(error).during("stat", &path),
        }
    }
    output.flush().during("list", path)
}

fn info(name: &OsStr, path: &Path, metadata: &Metadata) -> io::Result<FileInfo> {
    let kind = kind_of(metadata);
    let target = match kind {
        FileKind::Symlink => Some(read_link(path)?.into_os_string().into_vec()),
        _ => None,
    };
    Ok(FileInfo {
        name: name.as_bytes().to_vec(),
        kind,
        size: metadata.size(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        target,
    })
}

fn kind_of(metadata: &Metadata) -> FileKind {
    match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Dir,
        kind if kind.is_symlink() => FileKind::Symlink,
        _ => FileKind::Other,
    }
}
