//! What the host may ask for, one function for each.

use agentkernel_protocol::{MAX_CHANNELS, Stage, Start, ToGuest, ToHost};
use rustix::io::Errno;

use super::{Agent, End};
use crate::process::Process;
use crate::spawn::refused;
use crate::sys;

impl Agent {
    /// Does what all whole messages among the received bytes say.
    pub(super) fn obey_received(&mut self) -> Result<(), End> {
        while let Some((channel, message)) = self.stream.next_message()? {
            self.obey(channel, message)?;
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, channel: u32, message: ToGuest) -> Result<(), End> {
        match message {
            ToGuest::Start(start) => return self.start(channel, *start),
            ToGuest::Ping(_) | ToGuest::Shutdown | ToGuest::Hold | ToGuest::Renew(_) | ToGuest::Hello(_)
                if channel != 0 =>
            {
                return Err(End::violation("a frame for the whole stream came on a channel"));
            }
            ToGuest::Hello(_) => return Err(End::violation("a second Hello")),
            ToGuest::Hold => return self.hold(),
            ToGuest::Renew(_) => return Err(End::violation("nothing is held")),
            ToGuest::Ping(number) => self.stream.send(0, &ToHost::Pong(number)),
            ToGuest::Shutdown => return Err(End::Asked),
            message => {
                let tells_size = self.tells_size;
                if let Some(process) = self.find(channel)? {
                    instruct(process, message, tells_size).map_err(End::violation)?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, channel: u32, start: Start) -> Result<(), End> {
        if channel <= self.last_channel {
            return Err(End::violation(format!("channel {channel} was opened before, or is none")));
        }
        self.last_channel = channel;
        self.busy = true;
        let started = if self.processes.len() < MAX_CHANNELS {
            self.spawner.spawn(start)
        } else {
            Err(refused(Stage::Prepare, Errno::AGAIN, b"too many open channels"))
        };
        match started {
            Ok(process) => drop(self.processes.insert(channel, process)),
            Err(refused) => self.stream.send(channel, &ToHost::Refused(refused)),
        }
        Ok(())
    }

    /// The process of a channel; none if it has ended, which the host may not know yet.
    fn find(&mut self, channel: u32) -> Result<Option<&mut Process>, End> {
        if channel == 0 || channel > self.last_channel {
            return Err(End::violation(format!("a frame for channel {channel}, which was never opened")));
        }
        Ok(self.processes.get_mut(&channel))
    }
}

/// Does what concerns one process; an error says which rule was broken.
fn instruct(process: &mut Process, message: ToGuest, tells_size: bool) -> Result<(), &'static str> {
    match message {
        ToGuest::Stdin(bytes) => process.stdin.push(&bytes)?,
        ToGuest::StdinEnd => process.stdin.end(),
        ToGuest::Credit(stream, bytes) => process.credit(stream, bytes, sys::monotonic_ns()),
        ToGuest::Signal(signal) => process.signal(signal),
        ToGuest::Resize(size) => process.resize(size, tells_size),
        // The others concern no process, and were dealt with before.
        ToGuest::Hello(_)
        | ToGuest::Start(_)
        | ToGuest::Ping(_)
        | ToGuest::Shutdown
        | ToGuest::Hold
        | ToGuest::Renew(_) => {}
    }
    if process.has_started() {
        process.stdin.write();
    }
    Ok(())
}
