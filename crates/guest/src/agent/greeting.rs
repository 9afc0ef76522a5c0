//! The first words: who the host is, what to mount, and that the agent is ready.

use std::hint::black_box;

use agentkernel_protocol::{Hello, PROTOCOL_VERSION, Ready, Survivor, ToGuest, ToHost, Token};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, set_parent_process_death_signal};

use super::{Agent, End, REST_AFTER_NS};
use crate::stream::Received;
use crate::{mounts, sys};

/// Which build this is. A build script elsewhere says so; what was built by hand serves any host.
const BUILD_ID: &str = match option_env!("AGENTKERNEL_GUEST_BUILD") {
    Some(build) => build,
    None => ANY_BUILD,
};

const ANY_BUILD: &str = "dev";

/// How long a host may take to greet.
pub(super) const GREETING_WAIT_NS: u64 = 10_000_000_000;

/// What a host is told that begins with something else.
pub(super) const NO_HELLO: &str = "the first frame must be Hello";

/// What stays the same for every host.
pub(super) struct Identity {
    /// What the first host has said.
    token: Token,
    /// When the agent's `main` began.
    started_ns: u64,
    /// When it was ready for the first host.
    ready_ns: u64,
}

impl Agent {
    /// Hears the first host's greeting, does what it asks, and answers.
    pub(super) fn greet(&mut self, started_ns: u64) -> Result<(), End> {
        let hello = self.await_greeting(started_ns.saturating_add(GREETING_WAIT_NS))?;
        check(&hello, BUILD_ID).map_err(End::Mismatch)?;
        die_with_the_parent();
        mounts::mount_all(&hello.mounts).map_err(End::Mount)?;
        self.identity = Some(Identity { token: hello.token, started_ns, ready_ns: sys::monotonic_ns() });
        self.introduce(Vec::new());
        // Whatever the host sent along with its greeting is waiting in the decoder already.
        self.obey_received()?;
        self.flush()?;
        self.rests_ns = Some(sys::monotonic_ns().saturating_add(REST_AFTER_NS));
        Ok(())
    }

    /// Tells a host that has greeted who is here.
    pub(super) fn introduce(&mut self, survivors: Vec<Survivor>) {
        let Some(Identity { token, started_ns, ready_ns }) = self.identity else { return };
        let ready = Ready {
            protocol: PROTOCOL_VERSION,
            build: BUILD_ID.to_owned(),
            token,
            started_ns,
            ready_ns,
            pid: getpid().as_raw_pid().unsigned_abs(),
            last_channel: self.last_channel,
            survivors,
        };
        self.stream.send(0, &ToHost::Ready(ready));
    }

    /// Whether this host may have the sandbox; an error says why not. It may be of another build than the
    /// first one, as after an upgrade: that is no reason to lose what runs here.
    pub(super) fn recognise(&self, hello: &Hello) -> Result<(), String> {
        check_protocol(hello)?;
        let is_known = self.identity.as_ref().is_some_and(|known| is_same(known.token, hello.token));
        if is_known { Ok(()) } else { Err("the token is not this sandbox's".into()) }
    }

    /// From now on whoever knows this host's secret is this sandbox's.
    pub(super) fn take_token(&mut self, hello: &Hello) {
        if let Some(identity) = &mut self.identity {
            identity.token = hello.token;
        }
    }

    fn await_greeting(&mut self, until_ns: u64) -> Result<Hello, End> {
        loop {
            match self.stream.next_message()? {
                Some((0, ToGuest::Hello(hello))) => return Ok(hello),
                Some(_) => return Err(End::violation(NO_HELLO)),
                None => {}
            }
            if sys::monotonic_ns() >= until_ns {
                return Err(End::Silence);
            }
            let input = self.stream.input();
            let mut fds: Vec<_> =
                input.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            poll(&mut fds, Some(&sys::time_left(until_ns))).ok();
            if let Ok(Received::End) | Err(_) = self.stream.receive() {
                return Err(End::Silence);
            }
        }
    }
}

/// Whoever watches over the sandbox may be killed: then everything in it dies with this process. Only now: a runtime that
/// has made the container may leave it before anybody greets, and its end would be taken for that of its successor. A
/// failure leaves what other ways there are.
fn die_with_the_parent() {
    if getpid().is_init() {
        set_parent_process_death_signal(Some(Signal::KILL)).ok();
    }
}

pub(super) fn check_protocol(hello: &Hello) -> Result<(), String> {
    if hello.protocol != PROTOCOL_VERSION {
        let host = hello.protocol;
        return Err(format!("the host speaks protocol {host}, the guest protocol {PROTOCOL_VERSION}"));
    }
    Ok(())
}

/// Whether a first host that says this can be served by a guest of that build.
fn check(hello: &Hello, build: &str) -> Result<(), String> {
    check_protocol(hello)?;
    if build != ANY_BUILD && hello.build != build {
        return Err(format!("the host expects guest build {:?}, this is build {build:?}", hello.build));
    }
    Ok(())
}

/// Whether two secrets are the same, found out in a time that does not tell where they differ.
fn is_same(one: Token, other: Token) -> bool {
    let difference = one.0.iter().zip(other.0).fold(0, |found, (a, b)| black_box(found | (a ^ b)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(protocol: u32, build: &str) -> Hello {
        Hello { protocol, build: build.into(), token: Token([7; 32]), mounts: Vec::new(), output_window: 0 }
    }

    #[test]
    fn a_secret_with_one_wrong_bit_is_another() {
        let secret = Token([7; 32]);
        assert!(is_same(secret, secret));
        for bit in 0..256 {
            let mut other = secret;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same(secret, other), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_refused_with_both_named() {
        let reason = check(&hello(PROTOCOL_VERSION + 1, "a"), "a").expect_err("another protocol");
        assert_eq!(reason, "the host speaks protocol 5, the guest protocol 4");
        let reason = check(&hello(PROTOCOL_VERSION, "a"), "b").expect_err("another build");
        assert_eq!(reason, "the host expects guest build \"a\", this is build \"b\"");
    }

    #[test]
    fn the_same_version_and_a_build_by_hand_are_served() {
        assert_eq!(check(&hello(PROTOCOL_VERSION, "a"), "a"), Ok(()));
        assert_eq!(check(&hello(PROTOCOL_VERSION, "a"), "dev"), Ok(()));
    }
}
