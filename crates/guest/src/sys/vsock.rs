//! The socket on which a machine waits for its host to call, where its devices are those of a VMM that lets the host call.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::checked;

/// Calls that wait: there is one host.
const WAITING: libc::c_int = 1;

/// Listens on a port for whoever calls from outside the machine, or from inside before anybody runs there.
pub fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes integers; a descriptor that it returns is nobody else's.
    let socket = unsafe {
        let fd = checked(libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all fields of the address are integers, and bind reads as many bytes of it as it is told.
    unsafe {
        let mut address: libc::sockaddr_vm = std::mem::zeroed();
        address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).map_err(io::Error::other)?;
        address.svm_cid = libc::VMADDR_CID_ANY;
        address.svm_port = port;
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).map_err(io::Error::other)?;
        let fd = socket.as_raw_fd();
        checked(libc::bind(fd, (&raw const address).cast(), length))?;
        checked(libc::listen(fd, WAITING))?;
    }
    Ok(socket)
}

/// Takes the next call of the host's. That of anybody else is hung up, which is told as an aborted one.
pub fn accept_vsock(listener: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: all fields of the address are integers, and accept4 writes no more of it than the length says; a descriptor
    // that it returns is nobody else's.
    let (call, address) = unsafe {
        let mut address: libc::sockaddr_vm = std::mem::zeroed();
        let mut length =
            libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).map_err(io::Error::other)?;
        let (fd, place) = (listener.as_raw_fd(), (&raw mut address).cast());
        let call = checked(libc::accept4(fd, place, &raw mut length, libc::SOCK_CLOEXEC))?;
        (OwnedFd::from_raw_fd(call), address)
    };
    if address.svm_cid == libc::VMADDR_CID_HOST {
        Ok(call)
    } else {
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}
