//! Terminals: putting input into one as if it had been typed.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::attempt::{Attempt, Control, Errno, Outcome};
use crate::sys::{self, Reply, call};

/// EIO: the kernel has it switched off (dev.tty.legacy_tiocsti). ENOTTY: the kernel does not know it.
const REFUSED: &[Errno] = &[libc::EIO, libc::ENOTTY];

/// The kernel takes a request as 32 bits; a filter that compares 64 lets this one pass.
const HIGH_BIT: i64 = 1 << 32;

const TIOCSTI: i64 = 0x5412;
const TIOCLINUX: i64 = 0x541c;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("tiocsti", Control::Host, "type into the own terminal", |_| request(TIOCSTI))
        .refused(REFUSED),
    Attempt::new(
        "tiocsti-high-bit",
        Control::Host,
        "the same, with a bit set that only a filter sees",
        |_| request(TIOCSTI | HIGH_BIT),
    )
    .refused(REFUSED),
    // ENOTTY, EINVAL: no filter stopped it, and only this terminal, which is no console, does not know it.
    Attempt::new("tioclinux", Control::Host, "paste into a console", |_| request(TIOCLINUX))
        .granted(&[libc::ENOTTY, libc::EINVAL]),
    Attempt::new(
        "tioclinux-high-bit",
        Control::Host,
        "the same, with a bit set that only a filter sees",
        |_| request(TIOCLINUX | HIGH_BIT),
    )
    .granted(&[libc::ENOTTY, libc::EINVAL]),
];

/// Sends a request with one byte to a new terminal, which the attempt, leading its session, makes its own.
fn request(request: i64) -> Outcome {
    let (_main, terminal) = match new_terminal() {
        Ok(ends) => ends,
        Err(why) => return Outcome::error(why),
    };
    if let Err(errno) = call!(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSCTTY as i64, 0) {
        return Outcome::error(format!("a new terminal cannot be made one's own: errno {errno}"));
    }
    // The end of the new terminal is told to the leader of its session, who has yet to report.
    sys::ignore_signal(libc::SIGHUP);
    let mut byte = [b'x'; 1];
    call!(libc::SYS_ioctl, terminal.as_raw_fd(), request, &mut byte).into()
}

fn new_terminal() -> Result<(OwnedFd, OwnedFd), String> {
    let main = open("/dev/ptmx")?;
    let mut unlocked = [0; 4];
    let unlock: Reply = call!(libc::SYS_ioctl, main.as_raw_fd(), libc::TIOCSPTLCK as i64, &mut unlocked);
    let mut number = [0; 4];
    let named: Reply = call!(libc::SYS_ioctl, main.as_raw_fd(), libc::TIOCGPTN as i64, &mut number);
    if let Err(errno) = unlock.and(named) {
        return Err(format!("a new terminal has no name: errno {errno}"));
    }
    let terminal = open(&format!("/dev/pts/{}", u32::from_ne_bytes(number)))?;
    Ok((main, terminal))
}

fn open(path: &str) -> Result<OwnedFd, String> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    options.open(path).map(OwnedFd::from).map_err(|error| format!("{path}: {error}"))
}
