//! The loopback interface of a new network namespace, which the kernel leaves down.

use std::io;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;

/// Brings it up, so that programs inside can talk to each other on 127.0.0.1 and ::1.
pub(super) fn up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::interface_up(&socket, b"lo")
}
