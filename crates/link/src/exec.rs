//! A command as the guest is asked to run it, and its refusal as an error for whoever asked.

use std::time::Duration;

use agentkernel_core::{Command, CommandUser, Error, ErrorKind, Stdin};
use agentkernel_protocol::{
    Exec, OUTPUT_WINDOW, Refused, Stage, Start, StdinMode, Task, UserIds, WindowSize,
};
use rustix::io::Errno;

use crate::text::{errno_text, printable, printable_bytes};

/// What is being done when a command is started, for errors.
pub(crate) const START_COMMAND: &str = "start the command";

/// What a command gets that it does not name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecDefaults {
    /// Variables below the command's own; of two with the same name, the later one counts.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// As whom; `None` is whoever the guest agent runs as. File operations are done as the same user.
    pub user: Option<CommandUser>,
    /// A command of the boundary's own that does nothing, for a sandbox that waits to be used: see
    /// [`agentkernel_core::Sandbox::rehearse`].
    pub rehearsal: Option<Vec<Vec<u8>>>,
}

impl Default for ExecDefaults {
    /// Those of every sandbox.
    fn default() -> Self {
        let variable = |(name, value): (&str, &str)| (name.into(), value.into());
        let env = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/workspace"),
            ("TERM", "xterm"),
        ];
        Self { env: env.map(variable).into(), cwd: b"/workspace".into(), user: None, rehearsal: None }
    }
}

/// What the guest is asked to do for a command.
pub(crate) fn start(command: &Command, defaults: &ExecDefaults) -> Start {
    let exec = Exec {
        argv: command.argv.clone(),
        env: merged(defaults.env.iter().chain(&command.env)),
        cwd: command.cwd.clone().unwrap_or_else(|| defaults.cwd.clone()),
        stdin: match command.stdin {
            Stdin::Null => StdinMode::Null,
            Stdin::Pipe => StdinMode::Pipe,
        },
        terminal: command.terminal.map(|size| WindowSize { rows: size.rows, cols: size.cols }),
    };
    Start {
        task: Task::Exec(exec),
        user: command.user.or(defaults.user).map(user_ids),
        timeout_ms: command.timeout.map(milliseconds),
        output_window: OUTPUT_WINDOW,
    }
}

pub(crate) fn user_ids(user: CommandUser) -> UserIds {
    UserIds { uid: user.uid, gid: user.gid }
}

/// Rounded up: a limit that was asked for is never shorter, and never none at all.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Each name once, with its last value, where it was named first.
fn merged<'a>(env: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut merged: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, value) in env {
        let place = *places.entry(name).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(known) => known.1.clone_from(value),
            None => merged.push((name.clone(), value.clone())),
        }
    }
    merged
}

/// What a refusal means to whoever asked for the command.
pub(crate) fn refusal(refused: &Refused, command: &Command, defaults: &ExecDefaults) -> Error {
    let kind = kind(refused.stage, Errno::from_raw_os_error(refused.errno.clamp(1, 4095)));
    let what = match refused.stage {
        Stage::Prepare | Stage::Lookup | Stage::Exec => START_COMMAND,
        Stage::User => "change to the command's user",
        Stage::WorkingDirectory => "change to the command's working directory",
    };
    // In our own words where we have them: the guest's may say anything.
    let subject = match refused.stage {
        Stage::Lookup | Stage::Exec => printable(&command.program()),
        Stage::WorkingDirectory => printable_bytes(command.cwd.as_ref().unwrap_or(&defaults.cwd)),
        Stage::User | Stage::Prepare => printable(&refused.subject),
    };
    let error = Error::new(kind, what, errno_text(refused.errno)).on(subject);
    match hint(refused.stage, kind, refused.errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn kind(stage: Stage, errno: Errno) -> ErrorKind {
    match (stage, errno) {
        (Stage::Prepare | Stage::User | Stage::WorkingDirectory, _) => ErrorKind::CommandRefused,
        (Stage::Lookup | Stage::Exec, Errno::NOENT) => ErrorKind::CommandNotFound,
        // Nothing is wrong with the program: there is too little of something.
        (_, Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => ErrorKind::CommandRefused,
        _ => ErrorKind::CommandNotExecutable,
    }
}

fn hint(stage: Stage, kind: ErrorKind, errno: i32) -> Option<&'static str> {
    let is = |other: Errno| other.raw_os_error() == errno;
    Some(match (stage, kind) {
        (Stage::Lookup, ErrorKind::CommandNotFound) => {
            "it is in no folder of the sandbox's PATH; name it by its path, or set PATH for the command"
        }
        (Stage::Exec, ErrorKind::CommandNotFound) => {
            "the file does not exist in the sandbox, or the interpreter that its first line names"
        }
        (Stage::Lookup | Stage::Exec, _) if is(Errno::ACCESS) => {
            "make it executable with chmod +x, or run it with its interpreter"
        }
        (Stage::Exec, _) if is(Errno::NOEXEC) => {
            "it has no #! line and is no program for this processor; run it with its interpreter"
        }
        (Stage::WorkingDirectory, _) if is(Errno::NOENT) => {
            "make the folder first, or name one that exists in the sandbox"
        }
        (Stage::Prepare, _) if is(Errno::AGAIN) => {
            "wait until other commands have ended, or give the sandbox a larger limit of processes"
        }
        (_, _) if is(Errno::NOMEM) => "give the sandbox a larger limit of memory",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(stage: Stage, errno: Errno) -> Error {
        let refused = Refused { stage, errno: errno.raw_os_error(), subject: "\x1b[31mguest".into() };
        let mut command = Command::new(["tool"]);
        command.cwd = Some(b"/nowhere".into());
        refusal(&refused, &command, &ExecDefaults::default())
    }

    #[test]
    fn each_refusal_has_its_kind() {
        use ErrorKind::{CommandNotExecutable, CommandNotFound, CommandRefused};
        for (stage, errno, kind) in [
            (Stage::Lookup, Errno::NOENT, CommandNotFound),
            (Stage::Exec, Errno::NOENT, CommandNotFound),
            (Stage::Lookup, Errno::ACCESS, CommandNotExecutable),
            (Stage::Exec, Errno::ACCESS, CommandNotExecutable),
            (Stage::Exec, Errno::NOEXEC, CommandNotExecutable),
            (Stage::Exec, Errno::ISDIR, CommandNotExecutable),
            (Stage::Exec, Errno::NOMEM, CommandRefused),
            (Stage::WorkingDirectory, Errno::NOENT, CommandRefused),
            (Stage::User, Errno::PERM, CommandRefused),
            (Stage::Prepare, Errno::AGAIN, CommandRefused),
        ] {
            assert_eq!(refused(stage, errno).kind, kind, "{stage:?} {errno:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_on_what_why_and_the_way_out() {
        let error = refused(Stage::Lookup, Errno::NOENT);
        assert_eq!(error.to_string(), "start the command: tool: No such file or directory");
        assert!(error.hint.is_some_and(|hint| hint.contains("PATH")));
        let error = refused(Stage::WorkingDirectory, Errno::NOENT);
        let text = "change to the command's working directory: /nowhere: No such file or directory";
        assert_eq!(error.to_string(), text);
        let error = refused(Stage::Prepare, Errno::AGAIN);
        assert_eq!(error.subject, "\u{fffd}[31mguest");
    }

    #[test]
    fn later_variables_override_earlier_ones_in_their_place() {
        let mut command = Command::new(["env"]);
        command.env = vec![(b"HOME".into(), b"/a".into()), (b"X".into(), b"1".into())];
        command.env.push((b"HOME".into(), b"/b".into()));
        let Task::Exec(exec) = start(&command, &ExecDefaults::default()).task else { panic!("an exec") };
        let env: Vec<_> = exec.env.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        assert_eq!(env, ["PATH", "HOME", "TERM", "X"]);
        assert_eq!(exec.env[1].1, b"/b");
        assert_eq!(exec.cwd, b"/workspace");
    }

    #[test]
    fn the_commands_own_user_counts_before_the_sandboxs() {
        let user = |uid| Some(CommandUser { uid, gid: uid });
        let defaults = ExecDefaults { user: user(1), ..ExecDefaults::default() };
        let mut command = Command::new(["id"]);
        assert_eq!(start(&command, &defaults).user, Some(UserIds { uid: 1, gid: 1 }));
        command.user = user(2);
        assert_eq!(start(&command, &defaults).user, Some(UserIds { uid: 2, gid: 2 }));
        assert_eq!(start(&Command::new(["id"]), &ExecDefaults::default()).user, None);
    }

    #[test]
    fn a_timeout_is_never_rounded_to_nothing() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(1500)), 1500);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX);
    }
}
