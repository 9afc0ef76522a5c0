//! What a client asks for: a sandbox, a command, or both at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Word;
use crate::object::objects;

objects!(SandboxRequest, Mount, UnixSocket, CommandRequest, TerminalSize, RunRequest, TimeoutRequest);

/// What a sandbox is to be. Sizes and numbers are written as on the command line: `512M`, `1.5`, `unlimited`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct SandboxRequest {
    /// Its name among its owner's: 1 to 63 of a-z, 0-9 and `-`. Without it, its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it calls itself: 1 to 63 of a-z, 0-9 and `-`. Without it, the name that it has on the host. It is given at
    /// boot, so that a sandbox with one is not a warm one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What holds it; `auto`, the default, is the strongest boundary that is available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Emulate the machine of `qemu` in software, which is no security boundary.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emulate: bool,
    /// Its root file system; `host`, the default, is the host's programs without its files. Another is the name of an
    /// image that the backend keeps (`docker`, `podman`), with its registry or tag; a token is not enough for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A folder of the host as root file system instead of an image; an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<Word>,
    /// A file of the host with a Wasm module, instead of a root file system; an absolute path. Commands are the module's
    /// `_start`, and their words its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Word>,
    /// The profile whose defaults hold for whatever is not said here: restrictive, moderate or permissive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// As whom its processes run: `UID`, `UID:GID` or `root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<String>,
    /// Size of each writable place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Files and folders of the host inside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// A unix socket of the host, served inside by a socket of its own. Each connection to it is connected to the host's;
    /// bytes pass, descriptors and credentials do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_socket: Option<UnixSocket>,
    /// A command, word by word, that it runs once before anybody gets it: a warm sandbox while it waits, another one before
    /// its first command. It has a minute, no input, and none of the variables below; what it leaves stays. If it fails,
    /// there is no sandbox.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warm_up: Vec<Word>,
    /// Variables of every command in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Word>,
    /// What its owner wants to remember of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It is killed after this time, whatever it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// It is killed when nobody has used it for this time. Requests use it, and so do commands while they run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

/// A file or folder of the host inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Mount {
    /// Its absolute path on the host.
    pub source: Word,
    /// Its absolute path in the sandbox.
    pub target: Word,
    /// Whether it can be read only.
    #[serde(default)]
    pub read_only: bool,
}

/// A unix socket of the host inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct UnixSocket {
    /// Its absolute path on the host.
    pub host_path: Word,
    /// Its name in the sandbox, in /run/agentkernel: 1 to 63 of letters, digits, `.`, `_` and `-`.
    pub name: String,
}

/// A command, word by word; no shell reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct CommandRequest {
    /// Program and arguments.
    pub argv: Vec<Word>,
    /// Variables on top of those of its sandbox.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Word>,
    /// Folder in which it starts; absolute, and `/workspace` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Word>,
    /// As whom it runs, if not as the sandbox's user: `UID`, `UID:GID` or `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where its stdin comes from.
    #[serde(default)]
    pub stdin: StdinMode,
    /// Give it a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Kill it with all that it started after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How many bytes of output are passed on, stdout and stderr together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<u64>,
    /// Reply once it has started, and let it run; its output is kept as far as its log reaches. For `exec` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
}

impl CommandRequest {
    /// A command with nothing but its words.
    pub fn new<W: Into<Word>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// Where a command's stdin comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// Nothing: end of file at once.
    #[default]
    None,
    /// The stream's messages.
    Pipe,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// One command in a sandbox of its own, which ends with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct RunRequest {
    /// The sandbox.
    #[serde(default)]
    pub sandbox: SandboxRequest,
    /// The command.
    pub command: CommandRequest,
}

/// How long a sandbox may live from now on. What is not said stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct TimeoutRequest {
    /// Until its deadline, from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// While nobody uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_run_is_its_words() {
        let run: RunRequest = serde_json::from_str(r#"{"command":{"argv":["echo","hi"]}}"#).expect("read");
        assert_eq!(run.command, CommandRequest::new(["echo", "hi"]));
        assert_eq!(run.sandbox, SandboxRequest::default());
        let json = serde_json::to_string(&run).expect("written");
        assert_eq!(json, r#"{"sandbox":{},"command":{"argv":["echo","hi"],"stdin":"none"}}"#);
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused() {
        for wrong in [
            r#"{"command":{"argv":["a"],"tiemout_ms":1}}"#,
            r#"{"command":{"argv":["a"]},"sandbox":{"memroy":"1G"}}"#,
            r#"{"command":{"argv":["a"]},"sanbox":{}}"#,
            r#"{"command":{"argv":["a"],"terminal":{"rows":1,"cols":2,"x":3}}}"#,
            r#"{"command":{"argv":["a"]},"sandbox":{"mounts":[{"source":"/a","target":"/b","ro":true}]}}"#,
        ] {
            assert!(serde_json::from_str::<RunRequest>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<TimeoutRequest>(r#"{"timeout":1}"#).is_err());
    }
}
