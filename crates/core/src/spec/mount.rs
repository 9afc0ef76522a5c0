//! A host folder inside a sandbox.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Places in the sandbox that belong to the boundary.
const RESERVED: &[&str] = &["/", "/proc", "/sys", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];

/// A host file or folder that the user wants inside, read-write unless he says `:ro`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindMount {
    source: PathBuf,
    target: PathBuf,
    access: Access,
}

/// What the sandbox may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read it.
    ReadOnly,
    /// Read and change it.
    ReadWrite,
}

impl BindMount {
    /// A mount of the absolute path `source` at the absolute path `target`.
    pub fn new(source: &Path, target: &Path, access: Access) -> Result<Self, String> {
        let absolute = |path: &Path, whose: &str| {
            if path.is_absolute() {
                Ok(())
            } else {
                Err(format!("the {whose} '{}' is not an absolute path", path.display()))
            }
        };
        absolute(source, "host path")?;
        absolute(target, "place in the sandbox")?;
        let target = clean(target)?;
        let reserved = RESERVED.iter().map(Path::new).find(|reserved| {
            target == **reserved || (target.starts_with(reserved) && *reserved != Path::new("/"))
        });
        if let Some(reserved) = reserved {
            return Err(format!(
                "'{}' belongs to the sandbox itself ({}); choose a place such as /workspace/… or /mnt",
                target.display(),
                reserved.display()
            ));
        }
        Ok(Self { source: source.to_owned(), target, access })
    }

    /// Where it comes from, on the host.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Where it goes, in the sandbox: absolute, without `.` and `..`.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// What may be done with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }
}

/// The path without `.` and doubled slashes; `..` is refused, for nobody means it here.
fn clean(path: &Path) -> Result<PathBuf, String> {
    if path.as_os_str().as_bytes().iter().any(|byte| *byte == 0 || *byte == b'\n') {
        return Err("a path in the sandbox cannot contain a newline or NUL".into());
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => return Err(format!("'{}' contains '..'", path.display())),
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    Ok(clean)
}

impl FromStr for BindMount {
    type Err = String;

    /// Reads `SRC:DST`, `SRC:DST:ro` and `SRC:DST:rw`; both paths absolute.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a mount; write HOST_PATH:SANDBOX_PATH or …:ro");
        let mut parts = text.split(':');
        let source = parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong)?;
        let target = parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong)?;
        let access = match parts.next() {
            None | Some("rw") => Access::ReadWrite,
            Some("ro") => Access::ReadOnly,
            Some(other) => return Err(format!("'{other}' is not a mount option; use ro or rw")),
        };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(Path::new(OsStr::new(source)), Path::new(OsStr::new(target)), access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_reads_as_it_is_written() {
        let mount: BindMount = "/srv/data:/workspace/./data/:ro".parse().expect("valid");
        assert_eq!(mount.source(), Path::new("/srv/data"));
        assert_eq!(mount.target(), Path::new("/workspace/data"));
        assert_eq!(mount.access(), Access::ReadOnly);
    }

    #[test]
    fn the_sandboxs_own_places_cannot_be_covered() {
        for wrong in [
            "/a:/",
            "/a:/proc",
            "/a:/proc/sys",
            "/a:/usr/bin",
            "/a:/dev/null",
            "/a:/x/../proc",
            "a:/b",
            "/a:b",
            "/a",
            ":/b",
            "/a:/b:ro:x",
            "/a:/b:rx",
            "",
        ] {
            assert!(wrong.parse::<BindMount>().is_err(), "{wrong}");
        }
    }
}
