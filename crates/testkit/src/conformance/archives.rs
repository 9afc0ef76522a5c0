//! Rules of tar streams, in and out.

use std::io;

use agentkernel_core::{ErrorKind, FileKind, Files};
use bytes::Bytes;

use super::context::{Context, stop};
use super::files::{at, drain, read};
use super::rule::{Broken, Kept, Needs, Rule, rule, same, same_bytes};
use super::talk::{CHUNK_LEN, refused, text_of};

pub const RULES: &[Rule] = &[
    rule!(
        "archives.go_round_unchanged",
        Needs::Nothing,
        round_trip,
        "A tree that goes out as a tar stream and in again is the same: content, modes, links and names."
    ),
    rule!(
        "archives.are_read_to_their_last_byte",
        Needs::Nothing,
        padded,
        "What follows the end of an archive, as tar fills up its last record, is taken and means nothing."
    ),
    rule!(
        "archives.are_tar",
        Needs::Nothing,
        is_tar,
        "What comes out is a tar stream, its names relative to the folder's parent."
    ),
    rule!(
        "archives.cannot_leave_their_folder",
        Needs::Nothing,
        escape,
        "No archive writes outside the folder that it is unpacked into."
    ),
    rule!(
        "archives.a_broken_one_is_told",
        Needs::Nothing,
        broken,
        "An archive that is cut short or none at all is refused; what does not exist is not packed."
    ),
];

async fn pack(files: &dyn Files, name: &str) -> Result<Vec<u8>, Broken> {
    Ok(drain(files.tar_out(&at(name)).await?).await?)
}

async fn unpack(files: &dyn Files, name: &str, archive: &[u8]) -> agentkernel_core::Result<()> {
    let mut sink = files.tar_in(&at(name)).await?;
    for chunk in archive.chunks(CHUNK_LEN) {
        sink.write(Bytes::copy_from_slice(chunk)).await?;
    }
    sink.finish().await
}

/// Makes a tree with everything that an archive must keep.
const PLANT: &str = "mkdir -p tree/folder/deep tree/empty; cd tree; head -c 300000 /dev/urandom >large; \
     printf x >folder/small; : >nothing; chmod 600 large; chmod 755 folder/small; chmod 700 empty; \
     ln -s folder/small link; ln -s /no/where broken; printf y >'two words'; printf z >\"$(printf 'a\\nb\\377')\"; \
     printf n >folder/deep/12345678901234567890123456789012345678901234567890123456789012345678901234567890123";

/// A line for each file below a folder: place, kind, mode, target and content, in order.
async fn described(files: &dyn Files, folder: &str) -> Result<Vec<String>, Broken> {
    let mut lines = Vec::new();
    let mut folders = vec![Vec::new()];
    while let Some(below) = folders.pop() {
        for entry in files.list(&[&at(folder), &below[..]].concat()).await? {
            let place = [&below[..], b"/", &entry.name].concat();
            let mut content = Vec::new();
            match entry.kind {
                FileKind::Dir => folders.push(place.clone()),
                FileKind::File => content = read(files, &[&at(folder), &place[..]].concat()).await?,
                FileKind::Symlink | FileKind::Other => {}
            }
            // The kernel gives every link all bits.
            let mode = if entry.kind == FileKind::Symlink { 0 } else { entry.mode };
            let target = entry.target.unwrap_or_default();
            lines.push(format!(
                "{} {:?} {mode:o} {} {}",
                place.escape_ascii(),
                entry.kind,
                target.escape_ascii(),
                content.escape_ascii(),
            ));
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

async fn round_trip(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    text_of(&*sandbox, PLANT).await?;
    let archive = pack(files, "tree").await?;
    // The folder is made if it is missing.
    unpack(files, "copy", &archive).await?;
    let (before, after) = (described(files, "tree").await?, described(files, "copy/tree").await?);
    same("files that were planted", before.len(), 11)?;
    same_bytes("the copy", after.join("\n").as_bytes(), before.join("\n").as_bytes())?;
    let file = pack(files, "tree/large").await?;
    unpack(files, "alone", &file).await?;
    same_bytes(
        "a file alone",
        &read(files, &at("alone/large")).await?,
        &read(files, &at("tree/large")).await?,
    )?;
    stop(sandbox).await.map(drop)
}

async fn padded(context: &Context<'_>) -> Kept {
    /// More than any buffer on the way holds: whoever stops reading at the end of the archive is noticed.
    const PADDING_LEN: usize = 4 << 20;
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    let mut archive = forged(tar::EntryType::Regular, "file", "", b"content")?;
    archive.resize(archive.len() + PADDING_LEN, 0);
    unpack(files, "padded", &archive).await?;
    same_bytes("the file", &read(files, &at("padded/file")).await?, b"content")?;
    stop(sandbox).await.map(drop)
}

async fn is_tar(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    text_of(&*sandbox, "mkdir -p above/tree; echo content >above/tree/file").await?;
    let bytes = pack(sandbox.files(), "above/tree").await?;
    let mut names = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries()? {
        names.push(String::from_utf8_lossy(&entry?.path_bytes()).trim_end_matches('/').to_owned());
    }
    names.sort_unstable();
    same("names", names, vec!["tree".to_owned(), "tree/file".to_owned()])?;
    stop(sandbox).await.map(drop)
}

/// An archive of one entry whose name no honest writer would write.
fn forged(kind: tar::EntryType, name: &str, target: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content)?;
    builder.into_inner()
}

/// Two archives as one.
fn joined(one: &[u8], other: &[u8]) -> Vec<u8> {
    const END_LEN: usize = 1024;
    [&one[..one.len().saturating_sub(END_LEN)], other].concat()
}

async fn escape(context: &Context<'_>) -> Kept {
    use tar::EntryType::{Link, Regular, Symlink};
    let sandbox = context.boot().await?;
    let file = |name: &str| forged(Regular, name, "", b"evil");
    let outside = String::from_utf8_lossy(&at("outside")).into_owned();
    let attacks = [
        ("dots", file("../outside/evil")?),
        ("deep dots", file("a/../../outside/evil")?),
        ("absolute name", file(&format!("{outside}/evil"))?),
        ("link, then through it", joined(&forged(Symlink, "door", "../outside", b"")?, &file("door/evil")?)),
        (
            "absolute link, then through it",
            joined(&forged(Symlink, "door", &outside, b"")?, &file("door/evil")?),
        ),
        (
            "link to a file, then over it",
            joined(&forged(Symlink, "door", "../outside/old", b"")?, &file("door")?),
        ),
        (
            "hard link out, then over it",
            joined(&forged(Link, "door", "../outside/old", b"")?, &file("door")?),
        ),
    ];
    for (attack, archive) in attacks {
        text_of(&*sandbox, "rm -rf inside outside; mkdir inside outside; echo old >outside/old").await?;
        // Whether it is refused or the entry left out is the backend's choice.
        drop(unpack(sandbox.files(), "inside", &archive).await);
        let found = text_of(&*sandbox, "cat outside/*; echo outside/*").await?;
        same(attack, found, "old\noutside/old".to_owned())?;
    }
    stop(sandbox).await.map(drop)
}

async fn broken(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    text_of(&*sandbox, "mkdir tree; head -c 300000 /dev/urandom >tree/large").await?;
    let archive = pack(files, "tree").await?;
    refused("half an archive", unpack(files, "half", &archive[..archive.len() / 2]).await, ErrorKind::File)?;
    refused("no archive", unpack(files, "none", &[b'x'; 2048]).await, ErrorKind::File)?;
    let missing = match files.tar_out(&at("missing")).await {
        Ok(source) => drain(source).await,
        Err(error) => Err(error),
    };
    refused("packing what is missing", missing, ErrorKind::File)?;
    stop(sandbox).await.map(drop)
}
