//! The daemon's folder: who may look into it, and that there is one daemon in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, unlinkat};
use rustix::process::geteuid;
use tokio::net::UnixListener;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The way out where the folder will not do.
const ANOTHER_HOME: &str = "set AGENTKERNEL_HOME to a folder of your own";
const SOCKET: &str = "daemon.sock";

/// The folder, locked. The lock goes with the process, however that ends; its file stays, for removing it would let
/// two daemons lock two files of the same name.
pub struct Home {
    folder: PathBuf,
    lock: File,
}

impl Drop for Home {
    fn drop(&mut self) {
        // By name, and not by closing: a process that is being forked just now has the file open as well, until it
        // executes something else.
        drop(self.lock.unlock());
    }
}

impl Home {
    /// Makes the folder if it is not there, and locks it.
    pub fn open(folder: &Path) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|why| failed("make the daemon's folder", folder, why).hint(ANOTHER_HOME))?;
        check_owner(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
            .map_err(|why| failed("close the daemon's folder to others", folder, why))?;
        Ok(Self { lock: lock(&folder.join("daemon.lock"))?, folder: folder.to_owned() })
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.folder.join("daemon.db")
    }

    /// The tokens' file.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// Listens on the socket. One that a daemon left behind is removed: the lock says that it is gone.
    pub fn listen(&self) -> Result<(UnixListener, Socket)> {
        let path = self.folder.join(SOCKET);
        let wrong = |why: io::Error| failed("listen on the daemon's socket", &path, why);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(wrong(why)),
            _ => {}
        }
        // Nobody else can reach it before its own mode is set: its folder is closed to others.
        let listener = UnixListener::bind(&path).map_err(wrong)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(FILE_MODE)).map_err(wrong)?;
        let folder = File::open(&self.folder).map_err(wrong)?;
        Ok((listener, Socket { path, folder }))
    }
}

/// The socket's file, which is removed when this value is dropped.
pub struct Socket {
    path: PathBuf,
    /// Its folder, whatever has that path by now: in another folder there may be another daemon.
    folder: File,
}

impl Socket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is left is harmless: the next daemon removes it.
        unlinkat(&self.folder, SOCKET, AtFlags::empty()).ok();
    }
}

/// A folder of somebody else would let him replace whatever is in it.
fn check_owner(folder: &Path) -> Result<()> {
    let what = "open the daemon's folder";
    let facts = fs::metadata(folder).map_err(|why| failed(what, folder, why))?;
    if facts.uid() == geteuid().as_raw() {
        return Ok(());
    }
    let why = format!("it belongs to uid {}, and the daemon runs as {}", facts.uid(), geteuid().as_raw());
    Err(Error::new(ErrorKind::Host, what, why).on(folder.display()).hint(ANOTHER_HOME))
}

fn lock(path: &Path) -> Result<File> {
    let what = "lock the daemon's folder";
    let options =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(FILE_MODE).open(path);
    let mut file = options.map_err(|why| failed(what, path, why))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(path).unwrap_or_default();
            let why = format!("a daemon serves this folder already, process {}", pid.trim());
            return Err(Error::new(ErrorKind::Host, what, why).on(path.display()).hint(
                "use that one, end it with agentkernel shutdown, or set AGENTKERNEL_HOME to another folder",
            ));
        }
        Err(TryLockError::Error(why)) => return Err(failed(what, path, why)),
    }
    // For the message above, and for nothing else: the lock is what counts.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|why| failed(what, path, why))?;
    Ok(file)
}

fn failed(what: &str, path: &Path, why: io::Error) -> Error {
    Error::new(ErrorKind::Host, what, why).on(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_made_for_its_owner_alone_and_locked_once() {
        let parent = tempfile::tempdir().expect("temp dir");
        let folder = parent.path().join("home");
        let home = Home::open(&folder).expect("opened");
        assert_eq!(fs::metadata(&folder).expect("made").permissions().mode() & 0o777, FOLDER_MODE);
        let second = Home::open(&folder).map(drop).expect_err("refused");
        assert!(second.why.contains(&format!("process {}", std::process::id())), "{second}");
        drop(home);
        assert!(Home::open(&folder).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_its_own_is_removed() {
        let parent = tempfile::tempdir().expect("temp dir");
        let home = Home::open(parent.path()).expect("opened");
        fs::write(parent.path().join("daemon.sock"), "left").expect("written");
        let (_listener, socket) = home.listen().expect("listening");
        let path = socket.path().to_owned();
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, FILE_MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_another_daemon_in_another_folder_of_that_path_stays() {
        let parent = tempfile::tempdir().expect("temp dir");
        let folder = parent.path().join("home");
        let (first, first_socket) = Home::open(&folder).and_then(|home| home.listen()).expect("listening");
        fs::rename(&folder, parent.path().join("moved")).expect("moved");
        let (_second, second_socket) = Home::open(&folder).and_then(|home| home.listen()).expect("listening");
        drop((first, first_socket));
        assert!(second_socket.path().exists());
        assert!(!parent.path().join("moved/daemon.sock").exists());
    }
}
