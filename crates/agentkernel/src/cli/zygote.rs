//! `agentkernel zygote`: the zygote as a program of its own, for hosts that have threads already.

use std::io;
use std::os::fd::AsFd as _;

use agentkernel_core::{Error, ErrorKind};

use crate::errors::Failure;

/// Serves the orders that come in by stdin, a socket; returns only if there is none.
pub fn main() -> Result<u8, Failure> {
    let socket = io::stdin().as_fd().try_clone_to_owned();
    match socket
        .and_then(|socket| rustix::net::sockopt::socket_type(&socket).map_err(Into::into).map(|_| socket))
    {
        Ok(socket) => agentkernel_oci::serve(socket),
        Err(why) => {
            let error = Error::new(ErrorKind::Usage, "serve as a zygote", why).on("stdin");
            Err(error.hint("this subcommand is for programs; its stdin is a socket").into())
        }
    }
}
