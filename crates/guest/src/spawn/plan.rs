//! Everything a child needs, made before the fork: between fork and exec nothing is allocated.

use std::ffi::{CString, c_char};
use std::os::fd::OwnedFd;

use agentkernel_protocol::{
    Accept, Exec, FileRequest, Refused, Stage, Start, StdinMode, Task, UserIds, WindowSize,
};
use rustix::io::Errno;

use crate::accept::Sockets;

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// Longest subject of a refusal in bytes: it must fit a frame, and somebody will read it.
const SUBJECT_LEN_MAX: usize = 4096;

/// What a child shall do, as whom.
pub struct Plan {
    /// What it becomes.
    pub work: Work,
    /// As whom, if that is to be set.
    pub user: Option<UserIds>,
    /// Whether its descendants must stay findable, because its time is limited.
    pub gathers_orphans: bool,
    /// Where stdin comes from, if not from the terminal.
    pub stdin: StdinMode,
    /// Size of the terminal it gets, if it gets one.
    pub terminal: Option<WindowSize>,
}

/// What a child becomes.
pub enum Work {
    /// A program.
    Program(Program),
    /// A worker of the agent itself.
    File(FileRequest),
    /// A worker that passes on a connection to this socket.
    Accept(OwnedFd),
}

/// A program in the form that execve takes.
pub struct Program {
    /// Working directory.
    pub cwd: CString,
    /// Paths to try in this order.
    pub candidates: Vec<CString>,
    /// Whether the candidates come from PATH.
    searched: bool,
    name: Vec<u8>,
    argv: Words,
    env: Words,
}

/// C strings and the null-terminated array of pointers to them.
struct Words {
    /// Owns what the pointers point to; a string's bytes stay where they are when it moves.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Words {
    fn new(strings: Vec<CString>) -> Self {
        let ends = std::iter::once(std::ptr::null());
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(ends).collect();
        Self { _strings: strings, pointers }
    }
}

impl Program {
    fn new(exec: Exec) -> Result<Self, Refused> {
        let Some(name) = exec.argv.first().cloned() else {
            return Err(refused(Stage::Lookup, Errno::INVAL, b"empty argv"));
        };
        let candidates = candidates(&name, &exec.env)?;
        let argv = exec.argv.into_iter().enumerate();
        let argv = argv.map(|(index, word)| c_string(word, || format!("argument {index}")));
        let env = exec.env.into_iter().map(variable);
        Ok(Self {
            cwd: c_string(exec.cwd, || "working directory".into())?,
            searched: !name.contains(&b'/'),
            candidates,
            name,
            argv: Words::new(argv.collect::<Result<_, _>>()?),
            env: Words::new(env.collect::<Result<_, _>>()?),
        })
    }

    /// The array that execve takes as `argv`.
    pub fn argv(&self) -> *const *const c_char {
        self.argv.pointers.as_ptr()
    }

    /// The array that execve takes as `envp`.
    pub fn env(&self) -> *const *const c_char {
        self.env.pointers.as_ptr()
    }
}

impl Plan {
    /// Checks what the host asks for, and brings it into the form that the child needs.
    pub fn new(start: Start, sockets: &mut Sockets) -> Result<Self, Refused> {
        let (user, gathers_orphans) = (start.user, start.timeout_ms.is_some());
        Ok(match start.task {
            Task::Exec(exec) => {
                let (stdin, terminal) = (exec.stdin, exec.terminal);
                Self { work: Work::Program(Program::new(exec)?), user, gathers_orphans, stdin, terminal }
            }
            Task::File(request) => Self::worker(Work::File(request), user, gathers_orphans),
            Task::Accept(Accept { path }) => {
                let socket = sockets.get(&path).map_err(|errno| refused(Stage::Prepare, errno, &path))?;
                Self::worker(Work::Accept(socket), user, gathers_orphans)
            }
        })
    }

    fn worker(work: Work, user: Option<UserIds>, gathers_orphans: bool) -> Self {
        Self { work, user, gathers_orphans, stdin: StdinMode::Pipe, terminal: None }
    }

    /// What is being made before there is anything else to name.
    pub fn preparation(&self) -> &'static [u8] {
        if self.terminal.is_some() { b"terminal" } else { b"standard streams" }
    }

    /// What the host is told of a child's failure.
    pub fn refusal(&self, failure: Failure) -> Refused {
        let subject = match (&self.work, failure.stage) {
            (Work::Program(program), Stage::WorkingDirectory) => program.cwd.to_bytes().to_vec(),
            (Work::Program(program), Stage::Exec) if !program.searched => program.name.clone(),
            (Work::Program(program), Stage::Exec) => {
                let candidate = program.candidates.get(failure.candidate as usize);
                candidate.map_or_else(|| program.name.clone(), |path| path.to_bytes().to_vec())
            }
            (Work::Program(program), Stage::Lookup) => program.name.clone(),
            (_, Stage::User) => match &self.user {
                Some(user) => format!("{}:{}", user.uid, user.gid).into_bytes(),
                None => Vec::new(),
            },
            _ => self.preparation().to_vec(),
        };
        refused(failure.stage, Errno::from_raw_os_error(failure.errno), &subject)
    }
}

impl Program {
    /// Whether the candidates come from PATH, so that a missing one says nothing yet.
    pub fn is_searched(&self) -> bool {
        self.searched
    }

    /// What it means that the last of the candidates could not be executed for this reason.
    pub fn lookup_failure(&self, errno: i32) -> Failure {
        let stage = if self.searched { Stage::Lookup } else { Stage::Exec };
        Failure { stage, errno, candidate: 0 }
    }
}

/// Why a child could not do what it should, small enough to be written to a pipe at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// At which step.
    pub stage: Stage,
    /// With which errno.
    pub errno: i32,
    /// Which candidate it was, where it was one.
    pub candidate: u32,
}

const STAGES: [Stage; 5] = [Stage::Prepare, Stage::User, Stage::WorkingDirectory, Stage::Lookup, Stage::Exec];

impl Failure {
    /// Length of its encoded form.
    pub const LEN: usize = 9;

    /// Failure of a step with an errno.
    pub fn new(stage: Stage, errno: Errno) -> Self {
        Self { stage, errno: errno.raw_os_error(), candidate: 0 }
    }

    /// As bytes for the pipe.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.stage as u8;
        bytes[1..5].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[5..].copy_from_slice(&self.candidate.to_ne_bytes());
        bytes
    }

    /// From the bytes of [`Failure::encode`].
    pub fn decode([stage, a, b, c, d, candidate @ ..]: [u8; Self::LEN]) -> Self {
        let stage = STAGES.get(usize::from(stage)).copied().unwrap_or(Stage::Prepare);
        let errno = i32::from_ne_bytes([a, b, c, d]);
        Self { stage, errno, candidate: u32::from_ne_bytes(candidate) }
    }
}

/// A refusal with a subject that may be any bytes of any length.
pub fn refused(stage: Stage, errno: Errno, subject: &[u8]) -> Refused {
    let subject = &subject[..subject.len().min(SUBJECT_LEN_MAX)];
    let subject = String::from_utf8_lossy(subject).into_owned();
    Refused { stage, errno: errno.raw_os_error(), subject }
}

fn c_string(word: Vec<u8>, what: impl FnOnce() -> String) -> Result<CString, Refused> {
    CString::new(word).map_err(|_| {
        let subject = format!("{} contains a NUL byte", what());
        refused(Stage::Prepare, Errno::INVAL, subject.as_bytes())
    })
}

fn variable((name, value): (Vec<u8>, Vec<u8>)) -> Result<CString, Refused> {
    let shown = String::from_utf8_lossy(&name).into_owned();
    if name.is_empty() || name.contains(&b'=') {
        let subject = format!("environment variable {shown:?} has no proper name");
        return Err(refused(Stage::Prepare, Errno::INVAL, subject.as_bytes()));
    }
    let word = [name, value].join(&b'=');
    c_string(word, || format!("environment variable {shown:?}"))
}

/// The paths that may be meant by a program's name. Empty and relative entries of PATH count from
/// the working directory, which is the child's by the time it tries them.
fn candidates(name: &[u8], env: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<CString>, Refused> {
    let c_string = |path: Vec<u8>| c_string(path, || "argument 0".into());
    if name.is_empty() {
        return Err(refused(Stage::Lookup, Errno::NOENT, name));
    }
    if name.contains(&b'/') {
        return Ok(vec![c_string(name.to_vec())?]);
    }
    let path = env.iter().find(|(name, _)| name == b"PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_slice());
    let entries = path.split(|byte| *byte == b':');
    let entries = entries.map(|entry| if entry.is_empty() { b"." } else { entry });
    entries.map(|entry| c_string([entry, name].join(&b'/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &[u8], path: Option<&str>) -> Vec<String> {
        let env: Vec<_> = path.iter().map(|path| (b"PATH".to_vec(), path.as_bytes().to_vec())).collect();
        let paths = candidates(name, &env).expect("no NUL");
        paths.into_iter().map(|path| path.into_string().expect("text")).collect()
    }

    #[test]
    fn a_name_without_a_slash_is_looked_up_in_path() {
        assert_eq!(found(b"ls", Some("/a:/b")), ["/a/ls", "/b/ls"]);
        assert_eq!(found(b"ls", Some(":b")), ["./ls", "b/ls"]);
        assert_eq!(found(b"ls", None), ["/usr/local/bin/ls", "/usr/bin/ls", "/bin/ls"]);
    }

    #[test]
    fn a_name_with_a_slash_is_a_path() {
        assert_eq!(found(b"./ls", Some("/a")), ["./ls"]);
        assert_eq!(found(b"a/", Some("/a")), ["a/"]);
    }

    #[test]
    fn a_failure_survives_the_pipe() {
        for stage in STAGES {
            let failure = Failure { stage, errno: 13, candidate: 70_000 };
            assert_eq!(Failure::decode(failure.encode()), failure);
        }
    }
}
