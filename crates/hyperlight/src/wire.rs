//! What this crate and the helper program say to each other, over the helper's stdin and stdout: frames of a length (32 bits,
//! little-endian) and a value in postcard's form. Both are of one build.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use agentkernel_core::{Error, ModuleFile};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest frame, bytes: all words of a command fit.
pub const FRAME_MAX: usize = 4 << 20;

/// Bytes of stdin that may wait in the helper for a command to read them.
pub const STDIN_WINDOW: usize = 64 << 10;

/// What the helper is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The first one: make the machine.
    Boot(Plan),
    /// Run a command, in a machine that was just restored. One at a time.
    Run(Words),
    /// Call a function of the module, in such a machine.
    Call(Call),
    /// Bytes for its stdin; never more than [`STDIN_WINDOW`] that were not taken.
    Stdin(Vec<u8>),
    /// The end of its stdin.
    StdinEnd,
    /// Destroy the machine of the command that runs, if one does.
    Kill,
}

/// A machine to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What its file system holds.
    pub root: Root,
    /// Its memory, MiB: the root is part of it.
    pub memory_mib: usize,
    /// Whom the helper becomes once there is a machine, in an empty root; it stays who it is where there is nobody else to be.
    pub user: Option<u32>,
}

/// Where the files of a root come from. All of them are copied into the machine's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// Small programs of the host, and the libraries that they need.
    Host,
    /// All that is in this folder.
    Folder(Vec<u8>),
    /// A Wasm module, whose machine code may be kept in a folder of this user's, and snapshots of its machine as well.
    Module {
        /// It.
        file: ModuleFile,
        /// The folder.
        cache: Option<PathBuf>,
    },
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name.
    pub function: String,
    /// Its arguments, a list of JSON.
    pub arguments: String,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// All its variables.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its folder.
    pub cwd: Vec<u8>,
    /// Whether stdin will come; if not, it is at its end.
    pub has_stdin: bool,
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// What the machine is made of is there: its files, or the machine code of its module.
    Prepared,
    /// The answer to [`Order::Boot`].
    Ready {
        /// Memory of the machine as it was made, MiB.
        memory_mib: usize,
    },
    /// The other answer.
    NotMade(Trouble),
    /// The answer to [`Order::Run`]: the program has been executed.
    Started,
    /// The other answer.
    NotStarted(Refusal),
    /// The answer to [`Order::Call`], a list of JSON.
    Returned(String),
    /// The other answer, unless it is [`News::Ended`].
    NotReturned(Error),
    /// Bytes of stdout.
    Stdout(Vec<u8>),
    /// Bytes of stderr.
    Stderr(Vec<u8>),
    /// So many bytes of stdin were taken.
    Took(usize),
    /// The end of the command. The next one can be run at once.
    Ended(End),
}

/// Why there is no machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The root cannot be copied, on what and why.
    Root(String, String),
    /// The root needs more memory than the machine has.
    TooLarge {
        /// Size of the root, MiB.
        root_mib: usize,
    },
    /// The module cannot be run.
    Module(Error),
    /// Hyperlight could not make it.
    Machine(String),
}

/// Why a command did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The number of an error of Linux.
    Errno(i32),
    /// Its program is an ELF file of a fixed address.
    FixedAddress,
    /// Its program is a shell that forks, and was left out of the root.
    ForkingShell,
    /// Its words are longer than a call can carry, bytes.
    TooLong(usize),
    /// The module is no command, or no instance of it could be made.
    Module(String),
    /// The machine could not be restored, or said nothing that makes sense.
    Machine(String),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself.
    Code(u8),
    /// By a signal.
    Signal(u8),
    /// The machine crashed by what it did: by this signal on Linux, and the words of the machine's kernel.
    Crashed(u8, String),
    /// It was destroyed, as ordered.
    Killed,
}

/// A value as a frame.
pub fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let body = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX);
    let length = length.ok_or_else(|| io::Error::other(format!("{} bytes are too many", body.len())))?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

/// The length of the body behind this head.
pub fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length <= FRAME_MAX { Ok(length) } else { Err(io::Error::other(format!("a frame of {length} bytes"))) }
}

/// The value in a body.
pub fn value<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    postcard::from_bytes(body).map_err(io::Error::other)
}

/// Writes one value.
pub fn write<T: Serialize>(value: &T, mut to: impl Write) -> io::Result<()> {
    to.write_all(&frame(value)?)?;
    to.flush()
}

/// Reads one value.
pub fn read<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; body_length(head)?];
    from.read_exact(&mut body)?;
    value(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_no_length_is_believed() {
        let news = News::Ended(End::Crashed(11, "why".into()));
        let mut said = Vec::new();
        write(&news, &mut said).expect("written");
        assert_eq!(read::<News>(&said[..]).expect("read"), news);
        assert!(read::<News>(&[0xff_u8; 8][..]).is_err());
        assert!(read::<News>(&said[..said.len() - 1]).is_err());
    }
}
