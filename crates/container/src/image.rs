//! The images of ours that engines keep: the root of the `host` image, with the agent in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::{HostSocket, SandboxName, User};
use agentkernel_hardening::{etc, layout, lists};
use agentkernel_link::{GUEST, GUEST_BUILD};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::inside::AGENT;

/// What images of ours are called: by a name that no registry has.
const REPOSITORY: &str = "localhost/agentkernel/base";

/// Those that are somebody else's with the agent added.
const EXTENDED: &str = "localhost/agentkernel/with-agent";

/// How Docker tells that an image has no name.
const NO_NAME: &str = "<none>:<none>";

/// Label of every image of ours; nothing without it is ever removed.
pub(crate) const LABEL: &str = "agentkernel.base";

/// What gives an image our label, with the agent's build.
pub(crate) fn label() -> String {
    format!("LABEL {LABEL}={GUEST_BUILD}")
}

/// Whether an image of ours has another agent than this program, or is the base of what this host was before. `own` is
/// the name of the base that was made just now. One whose name another has got since is nobody's.
pub(crate) fn is_outdated(image: &Value, own: &str) -> bool {
    let tags = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_base = tags.filter(|tag| *tag != NO_NAME).all(|tag| tag.starts_with(REPOSITORY) && tag != own);
    is_base || image["Labels"][LABEL] != GUEST_BUILD
}

/// What the host shows in a container, as it was found: a pure value, so that what is made of it can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFolders {
    /// Top-level folders beside `/usr`: links into it, or real.
    pub programs: Vec<(String, Option<PathBuf>)>,
    /// Folders of `/etc` that programs are incomplete without, by their paths there.
    pub etc: Vec<String>,
}

impl HostFolders {
    /// Looks at the host.
    #[must_use]
    pub fn find() -> Self {
        let is_there = |name: &&&str| Path::new("/etc").join(name).is_dir();
        let etc = etc::HOST_FOLDERS.iter().filter(is_there).map(|name| (*name).to_owned()).collect();
        Self { programs: layout::program_folders(), etc }
    }

    /// Folders that are mounted from the host onto the same places.
    pub(crate) fn places(&self) -> impl Iterator<Item = PathBuf> {
        let real = self.programs.iter().filter(|(_, link)| link.is_none());
        let real = real.map(|(name, _)| Path::new("/").join(name));
        let etc = self.etc.iter().map(|name| Path::new("/etc").join(name));
        std::iter::once(PathBuf::from("/usr")).chain(real).chain(etc)
    }
}

/// The root of the `host` image for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base<'a> {
    pub(crate) folders: &'a HostFolders,
    pub(crate) user: User,
    /// Who may write to the workspace that is mounted there, where the engine takes that from here: Podman does.
    pub(crate) workspace_mode: u32,
}

impl Base<'_> {
    /// Its name, which says what is in it: another agent, another host or another user is another image.
    pub(crate) fn name(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(format!("{GUEST_BUILD} {:?} {} {}", self.folders, self.user, self.workspace_mode));
        for name in etc::HOST_FILES {
            // A file that is written anew has another number or another time.
            if let Ok(facts) = fs::metadata(Path::new("/etc").join(name)) {
                digest.update(format!(
                    " {} {} {}.{}",
                    facts.ino(),
                    facts.size(),
                    facts.mtime(),
                    facts.mtime_nsec()
                ));
            }
        }
        format!("{REPOSITORY}:{}", tag(digest))
    }

    /// All its files.
    pub(crate) fn tar(&self) -> io::Result<Bytes> {
        let mut tar = Builder::new(Vec::new());
        for (name, mode) in lists::OWN_FOLDERS.iter().chain(lists::EMPTY_FOLDERS).chain(&[("usr", 0o755)]) {
            let mode = if *name == "workspace" { self.workspace_mode } else { *mode };
            folder(&mut tar, name, mode)?;
        }
        for (name, target) in &self.folders.programs {
            match target {
                Some(target) => link(&mut tar, name, target)?,
                None => folder(&mut tar, name, 0o755)?,
            }
        }
        link(&mut tar, "var/tmp", Path::new("../tmp"))?;
        link(&mut tar, HostSocket::SHOWN_FOLDER.trim_start_matches('/'), Path::new(HostSocket::FOLDER))?;
        folder(&mut tar, "etc/ssl", 0o755)?;
        for (path, content) in etc::files(self.user, &nobody()?) {
            file(&mut tar, path, 0o644, content.as_bytes())?;
        }
        for (path, target) in etc::LINKS {
            link(&mut tar, path, Path::new(target))?;
        }
        for name in etc::HOST_FILES {
            if let Ok(content) = fs::read(Path::new("/etc").join(name)) {
                file(&mut tar, &format!("etc/{name}"), 0o644, &content)?;
            }
        }
        agent(&mut tar)?;
        tar.into_inner().map(Bytes::from)
    }
}

/// What another image is called with the agent added; `id` is that image's.
pub(crate) fn extended_name(id: &str, workspace_mode: u32) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{GUEST_BUILD} {id} {workspace_mode}"));
    format!("{EXTENDED}:{}", tag(digest))
}

/// What is added to it: the agent, and the places onto which something is mounted.
pub(crate) fn extension(workspace_mode: u32) -> io::Result<Bytes> {
    let mut tar = Builder::new(Vec::new());
    folder(&mut tar, "workspace", workspace_mode)?;
    folder(&mut tar, "tmp", 0o1777)?;
    agent(&mut tar)?;
    tar.into_inner().map(Bytes::from)
}

fn tag(digest: Sha256) -> String {
    digest.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn agent(tar: &mut Builder<Vec<u8>>) -> io::Result<()> {
    folder(tar, ".agentkernel", 0o755)?;
    file(tar, AGENT.trim_start_matches('/'), 0o555, GUEST)
}

/// What the sandbox calls itself is said by the engine; nothing of an image can be a sandbox's own.
fn nobody() -> io::Result<SandboxName> {
    "sandbox".parse().map_err(io::Error::other)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn folder(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Directory, mode, 0), path, io::empty())
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &Path) -> io::Result<()> {
    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)
}

fn file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let size = u64::try_from(content.len()).map_err(io::Error::other)?;
    tar.append_data(&mut header(EntryType::Regular, mode, size), path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_holds_the_agent_and_nothing_that_a_sandbox_could_write_to() {
        let folders = HostFolders {
            programs: vec![("bin".into(), Some("usr/bin".into())), ("lib".into(), None)],
            etc: vec![],
        };
        let base = Base { folders: &folders, user: User::SANDBOX, workspace_mode: 0o755 };
        let bytes = base.tar().expect("made");
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let (header, path) = (entry.header(), entry.path().expect("a path").display().to_string());
            assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0), "{path}");
            let mode = header.mode().expect("mode");
            assert!(
                mode & 0o022 == 0 || header.entry_type().is_symlink() || path == "tmp",
                "{path} {mode:o}"
            );
            found.push((path, mode, header.size().expect("size")));
        }
        let size = u64::try_from(GUEST.len()).expect("small");
        assert!(found.contains(&(".agentkernel/agent".into(), 0o555, size)), "{found:?}");
        assert!(found.iter().any(|(path, ..)| path == "etc/passwd"));
    }

    #[test]
    fn another_user_has_another_base() {
        let folders = HostFolders::find();
        let name =
            |uid| Base { folders: &folders, user: User { uid, gid: uid }, workspace_mode: 0o755 }.name();
        assert_ne!(name(1), name(2));
        assert_eq!(name(1), name(1));
    }

    #[test]
    fn an_image_is_outdated_with_another_agent_or_host_and_never_if_it_is_in_use_by_name() {
        let image = |tag: &str, build: &str| serde_json::json!({"RepoTags": [tag], "Labels": {LABEL: build}});
        let own = format!("{REPOSITORY}:1");
        assert!(!is_outdated(&image(&own, GUEST_BUILD), &own));
        assert!(is_outdated(&image(&format!("{REPOSITORY}:2"), GUEST_BUILD), &own));
        assert!(is_outdated(&image(&own, "older"), &own));
        assert!(is_outdated(&image("<none>:<none>", GUEST_BUILD), &own));
        assert!(!is_outdated(&image(&format!("{EXTENDED}:1"), GUEST_BUILD), &own));
        assert!(is_outdated(&image(&format!("{EXTENDED}:1"), "older"), &own));
    }
}
