//! The first words: who the host is, what to mount, and that the agent is ready.

use agentkernel_protocol::{Hello, PROTOCOL_VERSION, Ready, ToGuest, ToHost};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpid;

use super::{Agent, End, time_left};
use crate::stream::Received;
use crate::{mounts, sys};

/// Which build this is. A build script elsewhere says so; what was built by hand serves any host.
const BUILD_ID: &str = match option_env!("AGENTKERNEL_GUEST_BUILD") {
    Some(build) => build,
    None => ANY_BUILD,
};

const ANY_BUILD: &str = "dev";

/// How long the host may take to greet.
const GREETING_WAIT_NS: u64 = 10_000_000_000;

impl Agent {
    /// Hears the host's greeting, does what it asks, and answers.
    pub(super) fn greet(&mut self, started_ns: u64) -> Result<(), End> {
        let hello = self.await_greeting(started_ns.saturating_add(GREETING_WAIT_NS))?;
        check(&hello, BUILD_ID).map_err(End::Mismatch)?;
        mounts::mount_all(&hello.mounts).map_err(End::Mount)?;
        let ready = Ready {
            protocol: PROTOCOL_VERSION,
            build: BUILD_ID.to_owned(),
            token: hello.token,
            started_ns,
            ready_ns: sys::monotonic_ns(),
            pid: getpid().as_raw_pid().unsigned_abs(),
        };
        self.stream.send(0, &ToHost::Ready(ready));
        // Whatever the host sent along with its greeting is waiting in the decoder already.
        self.obey_received()?;
        self.stream.flush().map_err(|_| End::Asked)
    }

    fn await_greeting(&mut self, until_ns: u64) -> Result<Hello, End> {
        loop {
            match self.stream.next_message()? {
                Some((0, ToGuest::Hello(hello))) => return Ok(hello),
                Some(_) => return Err(End::violation("the first frame must be Hello")),
                None => {}
            }
            if sys::monotonic_ns() >= until_ns {
                return Err(End::Silence);
            }
            let input = self.stream.input();
            let mut fds: Vec<_> =
                input.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            poll(&mut fds, Some(&time_left(until_ns))).ok();
            if let Ok(Received::End) | Err(_) = self.stream.receive() {
                return Err(End::Silence);
            }
        }
    }
}

/// Whether a host that says this can be served by a guest of that build.
fn check(hello: &Hello, build: &str) -> Result<(), String> {
    if hello.protocol != PROTOCOL_VERSION {
        let host = hello.protocol;
        return Err(format!("the host speaks protocol {host}, the guest protocol {PROTOCOL_VERSION}"));
    }
    if build != ANY_BUILD && hello.build != build {
        return Err(format!("the host expects guest build {:?}, this is build {build:?}", hello.build));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentkernel_protocol::Token;

    fn hello(protocol: u32, build: &str) -> Hello {
        Hello { protocol, build: build.into(), token: Token([7; 32]), mounts: Vec::new() }
    }

    #[test]
    fn another_version_is_refused_with_both_named() {
        let reason = check(&hello(PROTOCOL_VERSION + 1, "a"), "a").expect_err("another protocol");
        assert_eq!(reason, "the host speaks protocol 2, the guest protocol 1");
        let reason = check(&hello(PROTOCOL_VERSION, "a"), "b").expect_err("another build");
        assert_eq!(reason, "the host expects guest build \"a\", this is build \"b\"");
    }

    #[test]
    fn the_same_version_and_a_build_by_hand_are_served() {
        assert_eq!(check(&hello(PROTOCOL_VERSION, "a"), "a"), Ok(()));
        assert_eq!(check(&hello(PROTOCOL_VERSION, "a"), "dev"), Ok(()));
    }
}
