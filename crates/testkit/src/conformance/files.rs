//! Rules of single files.

use agentkernel_core::{ByteSource, Error, ErrorKind, FileKind, Files};
use bytes::Bytes;

use super::context::{Context, WORKSPACE, stop};
use super::rule::{Kept, Needs, Rule, ensure, rule, same, same_bytes};
use super::talk::{CHUNK_LEN, refused, text_of};
use crate::noise;

pub const RULES: &[Rule] = &[
    rule!(
        "files.content_comes_back",
        Needs::Nothing,
        content,
        "What is written to a file is read from it, byte for byte."
    ),
    rule!("files.a_part_can_be_read", Needs::Nothing, part, "A part of a file is read by offset and length."),
    rule!(
        "files.mode_is_kept",
        Needs::Nothing,
        mode,
        "A new file has the permission bits that were asked for."
    ),
    rule!(
        "files.commands_see_the_same",
        Needs::Nothing,
        same_files,
        "Files and commands see the same files."
    ),
    rule!(
        "files.stat_tells_the_facts",
        Needs::Nothing,
        stat,
        "Kind, size, mode, owner, time and target are told; of a link itself unless it is followed."
    ),
    rule!(
        "files.replacing_is_atomic",
        Needs::Nothing,
        atomic,
        "A file is replaced as a whole: until the writing is finished the old content stays."
    ),
    rule!(
        "files.a_missing_file_is_told",
        Needs::Nothing,
        missing,
        "What does not exist, or is a folder, is refused as File, with its path."
    ),
    rule!("files.a_pipe_is_refused", Needs::Nothing, pipe, "Reading a pipe is refused at once."),
    rule!(
        "files.a_device_is_refused",
        Needs::Nothing,
        device,
        "Reading a device is refused, by its path and through a link."
    ),
    rule!(
        "files.relative_paths_are_refused",
        Needs::Nothing,
        relative,
        "Paths are absolute: all others are refused."
    ),
];

/// The path of a name in the workspace.
pub fn at(name: &str) -> Vec<u8> {
    format!("{WORKSPACE}/{name}").into_bytes()
}

/// Writes a file as a whole.
pub async fn write(
    files: &dyn Files,
    path: &[u8],
    mode: u32,
    content: &[u8],
) -> agentkernel_core::Result<()> {
    let mut sink = files.write(path, mode).await?;
    for chunk in content.chunks(CHUNK_LEN) {
        sink.write(Bytes::copy_from_slice(chunk)).await?;
    }
    sink.finish().await
}

/// Reads a file as a whole.
pub async fn read(files: &dyn Files, path: &[u8]) -> agentkernel_core::Result<Vec<u8>> {
    drain(files.read(path, 0, None).await?).await
}

/// Reads a source to its end.
pub async fn drain(mut source: Box<dyn ByteSource>) -> agentkernel_core::Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(bytes) = source.next().await? {
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "read the file", "a part of it is empty"));
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content)
}

async fn content(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for length in [0, 1, CHUNK_LEN, (8 << 20) + 1] {
        let content = noise(length);
        write(sandbox.files(), &at("file"), 0o644, &content).await?;
        same_bytes("content", &read(sandbox.files(), &at("file")).await?, &content)?;
    }
    stop(sandbox).await.map(drop)
}

async fn part(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let content = noise(300_000);
    write(sandbox.files(), &at("file"), 0o644, &content).await?;
    let parts = [
        (0, Some(0)),
        (0, Some(10)),
        (5, Some(200_000)),
        (299_999, None),
        (100, None),
        (300_000, None),
        (400_000, Some(1)),
    ];
    for (offset, length) in parts {
        let found = drain(sandbox.files().read(&at("file"), offset, length).await?).await?;
        let begin = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let length = length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let end = content.len().min(begin.saturating_add(length));
        same_bytes(&format!("from {offset}"), &found, &content[begin..end])?;
    }
    stop(sandbox).await.map(drop)
}

async fn mode(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for mode in [0o600, 0o640, 0o755, 0o444] {
        let name = format!("file-{mode:o}");
        write(sandbox.files(), &at(&name), mode, b"x").await?;
        same("mode", sandbox.files().stat(&at(&name), true).await?.mode, mode)?;
        same("mode", text_of(&*sandbox, &format!("stat -c %a {name}")).await?, format!("{mode:o}"))?;
    }
    stop(sandbox).await.map(drop)
}

async fn same_files(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    write(sandbox.files(), &at("from-here"), 0o644, b"written here").await?;
    same("read by a command", text_of(&*sandbox, "cat from-here").await?, "written here".to_owned())?;
    text_of(&*sandbox, "printf 'written there' >from-there; echo more >>from-here").await?;
    same_bytes("read here", &read(sandbox.files(), &at("from-there")).await?, b"written there")?;
    same_bytes("read here", &read(sandbox.files(), &at("from-here")).await?, b"written heremore\n")?;
    stop(sandbox).await.map(drop)
}

async fn stat(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "printf 12345 >file; chmod 4751 file; ln -s file link; mkdir -m 1777 folder; mkfifo pipe; \
                  ln -s nowhere broken; stat -c '%u %g %Y' file";
    let owner_and_time = text_of(&*sandbox, script).await?;
    let files = sandbox.files();
    let file = files.stat(&at("file"), false).await?;
    same("kind, size and mode", (file.kind, file.size, file.mode), (FileKind::File, 5, 0o4751))?;
    let told = format!("{} {} {}", file.uid, file.gid, file.modified_ns / 1_000_000_000);
    same("owner, group and time", told, owner_and_time)?;
    same("name and target", (file.name, file.target), (b"file".to_vec(), None))?;
    let link = files.stat(&at("link"), false).await?;
    same("link", (link.kind, link.target), (FileKind::Symlink, Some(b"file".to_vec())))?;
    let followed = files.stat(&at("link"), true).await?;
    same("link followed", (followed.kind, followed.size), (FileKind::File, 5))?;
    let folder = files.stat(&at("folder"), false).await?;
    same("folder", (folder.kind, folder.mode), (FileKind::Dir, 0o1777))?;
    same("pipe", files.stat(&at("pipe"), true).await?.kind, FileKind::Other)?;
    same("broken link", files.stat(&at("broken"), false).await?.kind, FileKind::Symlink)?;
    refused("a broken link, followed", files.stat(&at("broken"), true).await, ErrorKind::File)?;
    stop(sandbox).await.map(drop)
}

async fn atomic(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    write(files, &at("file"), 0o644, b"old").await?;
    let mut sink = files.write(&at("file"), 0o644).await?;
    sink.write(Bytes::from(noise(1 << 20))).await?;
    same_bytes("while it is written", &read(files, &at("file")).await?, b"old")?;
    drop(sink);
    // Until the file of the half-written content is gone, which may be after the drop.
    while files.list(WORKSPACE.as_bytes()).await?.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    same_bytes("after it was given up", &read(files, &at("file")).await?, b"old")?;
    write(files, &at("file"), 0o644, b"new").await?;
    same_bytes("after it was finished", &read(files, &at("file")).await?, b"new")?;
    stop(sandbox).await.map(drop)
}

async fn missing(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    text_of(&*sandbox, "mkdir folder; echo x >file").await?;
    for name in ["missing", "missing/file", "folder", "file/below"] {
        let result = read(files, &at(name)).await;
        if let Err(error) = &result {
            ensure!(error.to_string().contains(name), "the error does not say which file: {error}");
        }
        refused(&format!("reading {name}"), result, ErrorKind::File)?;
    }
    for name in ["missing/file", "folder", "file/below"] {
        refused(&format!("writing {name}"), write(files, &at(name), 0o644, b"x").await, ErrorKind::File)?;
    }
    refused("stat", files.stat(&at("missing"), true).await, ErrorKind::File)?;
    refused("listing a file", files.list(&at("file")).await, ErrorKind::File)?;
    refused("listing nothing", files.list(&at("missing")).await, ErrorKind::File)?;
    same("what is there", text_of(&*sandbox, "echo *").await?, "file folder".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn pipe(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    text_of(&*sandbox, "mkfifo pipe; ln -s pipe link").await?;
    for name in ["pipe", "link"] {
        refused(name, read(sandbox.files(), &at(name)).await, ErrorKind::File)?;
    }
    stop(sandbox).await.map(drop)
}

async fn device(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    text_of(&*sandbox, "ln -s /dev/zero link").await?;
    for path in [b"/dev/zero".to_vec(), at("link")] {
        // Read in part only: a backend that breaks this rule must not fill the host's memory.
        let what = path.escape_ascii().to_string();
        let result = match sandbox.files().read(&path, 0, Some(1 << 20)).await {
            Ok(mut source) => source.next().await,
            Err(error) => Err(error),
        };
        refused(&format!("reading {what}"), result, ErrorKind::File)?;
    }
    stop(sandbox).await.map(drop)
}

async fn relative(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    text_of(&*sandbox, "echo x >file").await?;
    let paths: [&[u8]; 5] = [b"file", b"workspace/file", b"./file", b"", b"/workspace/fi\0le"];
    for path in paths {
        let name = format!("path {:?}", String::from_utf8_lossy(path));
        for result in [read(files, path).await.map(drop), files.stat(path, true).await.map(drop)] {
            let is_refused =
                result.as_ref().is_err_and(|error| [ErrorKind::File, ErrorKind::Usage].contains(&error.kind));
            ensure!(is_refused, "{name}: {result:?}");
        }
        ensure!(write(files, path, 0o644, b"x").await.is_err(), "{name} was written");
    }
    stop(sandbox).await.map(drop)
}
