//! The user's terminal: raw while a command has it, and restored whatever happens.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use agentkernel_core::TerminalSize;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether our stdin is a terminal.
pub fn is_stdin() -> bool {
    isatty(io::stdin())
}

/// Whether our stdout is a terminal.
pub fn is_stdout() -> bool {
    isatty(io::stdout())
}

/// Whether our stderr is a terminal.
pub fn is_stderr() -> bool {
    isatty(io::stderr())
}

/// The size of the terminal that is our stdin; a usual one, if it does not know its own.
pub fn size() -> TerminalSize {
    match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            TerminalSize { rows: size.ws_row, cols: size.ws_col }
        }
        _ => TerminalSize { rows: 24, cols: 80 },
    }
}

/// The terminal passes every key on as it is. Dropping the value restores what was before: on return, on
/// an error, on a panic, and on every signal that can be caught, for each of these ends in a drop.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Makes the terminal that is our stdin raw.
    pub fn enter() -> io::Result<Self> {
        let terminal = io::stdin().as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).ok();
    }
}
