//! Rules of folders and of names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use agentkernel_core::{Command, ErrorKind, ExitStatus, FileKind};

use super::context::{Context, WORKSPACE, stop};
use super::files::{at, read, write};
use super::rule::{Kept, Needs, Rule, ensure, rule, same, same_bytes};
use super::talk::{refused, run, text_of};

pub const RULES: &[Rule] = &[
    rule!(
        "folders.are_listed_in_order",
        Needs::Nothing,
        list,
        "A folder's entries are listed with their facts, sorted by name, links not followed."
    ),
    rule!(
        "folders.parents_are_made_if_asked",
        Needs::Nothing,
        make,
        "A folder is made with its parents only if that is asked for."
    ),
    rule!(
        "folders.are_removed_with_content_if_asked",
        Needs::Nothing,
        remove,
        "A folder is removed with its content only if that is asked for; a link is removed, and not its target."
    ),
    rule!(
        "folders.renaming_moves",
        Needs::Nothing,
        rename,
        "Renaming moves a file or folder, and replaces a file."
    ),
    rule!(
        "folders.names_are_bytes",
        Needs::Nothing,
        names,
        "Names are bytes: spaces, newlines and what is not UTF-8 stay as they are."
    ),
];

async fn list(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "mkdir folder; cd folder; echo 12345 >b; mkdir a; ln -s b c; mkfifo B; echo >.hidden; \
                  i=0; while [ $i -lt 300 ]; do echo >z$i; i=$((i+1)); done";
    text_of(&*sandbox, script).await?;
    let entries = sandbox.files().list(&at("folder")).await?;
    same("entries", entries.len(), 305)?;
    ensure!(entries.is_sorted_by(|one, other| one.name < other.name), "they are not sorted by name");
    let kinds: Vec<_> = entries.iter().take(5).map(|entry| (&entry.name[..], entry.kind)).collect();
    let expected: [(&[u8], FileKind); 5] = [
        (b".hidden", FileKind::File),
        (b"B", FileKind::Other),
        (b"a", FileKind::Dir),
        (b"b", FileKind::File),
        (b"c", FileKind::Symlink),
    ];
    same("kinds", kinds, expected.to_vec())?;
    same("size", entries[3].size, 6)?;
    same("target", entries[4].target.clone(), Some(b"b".to_vec()))?;
    stop(sandbox).await.map(drop)
}

async fn make(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    refused("a folder without its parent", files.make_dir(&at("a/b"), 0o755, false).await, ErrorKind::File)?;
    files.make_dir(&at("a/b/c"), 0o750, true).await?;
    files.make_dir(&at("a/b/c"), 0o750, true).await?;
    files.make_dir(&at("d"), 0o700, false).await?;
    refused("a folder that exists", files.make_dir(&at("d"), 0o755, false).await, ErrorKind::File)?;
    let found = text_of(&*sandbox, "stat -c '%a %F' a/b/c d").await?;
    same("folders", found, "750 directory\n700 directory".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn remove(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    let script = "mkdir -p full/deep empty target; echo x >file; echo x >full/deep/file; echo x >target/file; \
                  ln -s ../target full/link; ln -s target link";
    text_of(&*sandbox, script).await?;
    refused("a full folder", files.remove(&at("full"), false).await, ErrorKind::File)?;
    refused("a missing file", files.remove(&at("missing"), false).await, ErrorKind::File)?;
    same(
        "what is there",
        text_of(&*sandbox, "echo * full/*").await?,
        "empty file full link target full/deep full/link".into(),
    )?;
    for (name, recursive) in [("file", false), ("empty", false), ("full", true), ("link", true)] {
        files.remove(&at(name), recursive).await?;
    }
    same("what is left", text_of(&*sandbox, "echo * target/*").await?, "target target/file".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn rename(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    text_of(&*sandbox, "mkdir folder other; echo new >folder/file; echo old >other/file").await?;
    files.rename(&at("folder/file"), &at("other/file")).await?;
    same("content", text_of(&*sandbox, "cat other/file").await?, "new".to_owned())?;
    files.rename(&at("other"), &at("moved")).await?;
    same("what is there", text_of(&*sandbox, "echo * */*").await?, "folder moved moved/file".to_owned())?;
    refused("a missing file", files.rename(&at("missing"), &at("x")).await, ErrorKind::File)?;
    stop(sandbox).await.map(drop)
}

async fn names(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let files = sandbox.files();
    let names: [&[u8]; 7] =
        [b" ", b"-rf", b"a b", b"back\\slash", b"line\nbreak", "\u{fc}\u{4e2d}".as_bytes(), b"\xff\xfe"];
    for name in names {
        let path = [WORKSPACE.as_bytes(), b"/", name].concat();
        let what = format!("name {:?}", OsStr::from_bytes(name));
        write(files, &path, 0o644, name).await?;
        same_bytes(&what, &read(files, &path).await?, name)?;
        same_bytes(&what, &files.stat(&path, false).await?.name, name)?;
        let seen = run(&*sandbox, &Command::new([b"cat", &b"--"[..], name])).await?;
        seen.ended_with(ExitStatus::Code(0))?;
        same_bytes(&what, &seen.stdout, name)?;
    }
    let listed: Vec<Vec<u8>> =
        files.list(WORKSPACE.as_bytes()).await?.into_iter().map(|entry| entry.name).collect();
    same("names", listed, names.map(<[u8]>::to_vec).to_vec())?;
    stop(sandbox).await.map(drop)
}
