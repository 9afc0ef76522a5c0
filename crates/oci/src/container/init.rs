//! The life of the container's first process, from the clone to the guest agent.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::config::{Config, NamespaceKind};
use super::idmap::IdMaps;
use super::{Failure, MAPPED, Parts, UNMAPPED, during, identity, loopback, mounts, stage};
use crate::bundle::STAGE;
use crate::plan::Privilege;
use crate::sys;

/// What the first process has from its parent.
pub(super) struct Job<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) config: Config,
    pub(super) maps: IdMaps,
    pub(super) channel: OwnedFd,
}

/// Becomes the guest agent, or says why not and ends.
pub(super) fn run(mut job: Job<'_>) -> ! {
    let failure = match job.become_the_agent() {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let message = serde_json::to_vec(&failure).unwrap_or_default();
    // If nobody listens, nobody needs to know.
    send(&job.channel, &message, SendFlags::NOSIGNAL).ok();
    sys::exit_now(1)
}

impl Job<'_> {
    fn become_the_agent(&mut self) -> Result<std::convert::Infallible, Failure> {
        die_with_the_supervisor()?;
        if let Privilege::Rootless { uid, gid, .. } = self.parts.plan.privilege {
            identity::map_self((0, uid), (0, gid)).map_err(during("become root of a user namespace"))?;
        }
        self.enter_network()?;
        self.enter_group()?;
        self.build_the_root()?;
        if let Some(name) = &self.config.hostname {
            rustix::system::sethostname(name.as_bytes()).map_err(during("set the host name"))?;
        }
        if self.config.has(NamespaceKind::Network) {
            loopback::up().map_err(during("bring up the loopback interface"))?;
        }
        self.enter_user_namespace()?;
        identity::take(&self.config, self.parts.plan.privilege)?;
        self.standard_streams()?;
        let agent = self.parts.agent.complete().map_err(during("write the guest agent"))?;
        // Taking an identity has made the kernel forget it.
        die_with_the_supervisor()?;
        if let Some(filters) = self.parts.filters {
            filters.install().map_err(during("load the system call filter"))?;
        }
        let words = self.config.process.args.iter().map(|word| CString::new(word.as_str()));
        let words = words.collect::<Result<Vec<_>, _>>().map_err(during("execute the guest agent"))?;
        Err(during("execute the guest agent")(sys::execute(agent, &words)))
    }

    /// The network namespace that was made before; else it was made together with this process.
    fn enter_network(&mut self) -> Result<(), Failure> {
        let Some(network) = self.parts.network.take().filter(|_| self.config.has(NamespaceKind::Network))
        else {
            return Ok(());
        };
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(during("enter the network namespace"))
    }

    fn enter_group(&mut self) -> Result<(), Failure> {
        self.parts.group.enter().map_err(during("enter the control group"))?;
        if self.config.has(NamespaceKind::Cgroup) {
            let made = sys::unshare(libc::CLONE_NEWCGROUP);
            made.map_err(during("make a cgroup namespace"))?;
        }
        Ok(())
    }

    fn build_the_root(&self) -> Result<(), Failure> {
        // What is mounted from here on is seen by nobody else.
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(during("make the mounts private"))?;
        let stage = Path::new(STAGE);
        let owners = identity::Owners::new(&self.config, self.parts.plan.privilege);
        let root = (owners.uid_of(0), owners.gid_of(0));
        stage::build(self.parts.plan, &self.maps, root, stage).map_err(during("build the root folder"))?;
        let sources = mounts::Sources::open(&self.config)?;
        mounts::enter(&stage.join(&self.config.root.path))?;
        mounts::make(&self.config, &sources, &owners)?;
        mounts::restrict(&self.config)
    }

    fn enter_user_namespace(&self) -> Result<(), Failure> {
        if !self.config.has(NamespaceKind::User) {
            return Ok(());
        }
        sys::unshare(libc::CLONE_NEWUSER).map_err(during("enter the user namespace"))?;
        if let Privilege::Rootless { inside_uid, inside_gid, .. } = self.parts.plan.privilege {
            return identity::map_self((inside_uid, 0), (inside_gid, 0)).map_err(during("map its ids"));
        }
        let channel = &self.channel;
        send(channel, UNMAPPED, SendFlags::NOSIGNAL).map_err(during("ask for the id maps"))?;
        let mut answer = [0; 8];
        match recv(channel, &mut answer, RecvFlags::empty()) {
            Ok((_, length)) if &answer[..length] == MAPPED => Ok(()),
            Ok(_) => Err(during("ask for the id maps")("the supervisor is gone")),
            Err(why) => Err(during("ask for the id maps")(why)),
        }
    }

    /// The agent's stream, the sandbox's own /dev/null twice, and the agent's door. All else is closed when the agent is executed.
    fn standard_streams(&self) -> Result<(), Failure> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(during("open /dev/null"))?;
        // The zygote has kept the first four numbers free of everything else.
        [
            (self.parts.stream.as_raw_fd(), 0),
            (null.as_raw_fd(), 1),
            (null.as_raw_fd(), 2),
            (self.parts.door.as_raw_fd(), 3),
        ]
        .into_iter()
        .try_for_each(|(from, to)| sys::copy_descriptor(from, to))
        .and_then(|()| sys::close_on_exec_from(4))
        .map_err(during("arrange the standard streams"))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        for signal in [libc::SIGCHLD, libc::SIGPIPE] {
            sys::set_signal(signal, false);
        }
        std::env::set_current_dir("/").map_err(during("enter the first folder"))?;
        // It fails for a process that leads a session already, and that is what is wanted.
        rustix::process::setsid().ok();
        Ok(())
    }
}

/// The supervisor is this process's parent. When it dies, however that happens, the sandbox dies; and had it
/// died before this line, the agent finds its stream closed.
pub(super) fn die_with_the_supervisor() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(during("tie its life to the supervisor's"))
}
