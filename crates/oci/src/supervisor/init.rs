//! The last steps inside the container, just before the guest agent: done by libcontainer's init
//! process, which by now has the sandbox's namespaces, root, identity and no capabilities.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use agentkernel_protocol::{ToHost, encode};
use bytes::BytesMut;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::Spec;

use crate::plan::Privilege;
use crate::seccomp::SeccompFilters;
use crate::sys;

/// Turns the container's init process into the guest agent.
#[derive(Clone)]
pub(super) struct AgentExecutor {
    /// The guest agent, in a sealed memory file: no path of it exists inside or outside.
    pub(super) agent: Rc<OwnedFd>,
    /// None only where a test weakened the sandbox.
    pub(super) filters: Option<Rc<SeccompFilters>>,
    pub(super) privilege: Privilege,
}

impl AgentExecutor {
    fn become_the_agent(&self) -> io::Result<std::convert::Infallible> {
        if let Privilege::Rootless { inside_uid, inside_gid, .. } = self.privilege {
            enter_inner_namespace(inside_uid, inside_gid)?;
        }
        // The supervisor is this process's parent. When it dies, however that happens, the sandbox
        // dies; and had it died before this line, the agent finds its stream closed.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
        if let Some(filters) = &self.filters {
            filters.install().map_err(io::Error::other)?;
        }
        let why = sys::execute(self.agent.as_fd(), &[CString::from(c"agentkernel-guest")]);
        Err(during("execute it")(why))
    }
}

/// Says on the agent's stream why there will be no agent. If that fails too, the host still sees
/// the stream end.
fn tell_the_host(error: &io::Error) {
    let mut frame = BytesMut::new();
    let fault = ToHost::Fault(format!("the guest agent could not be started: {error}"));
    if encode(0, &fault, &mut frame).is_ok() {
        rustix::io::write(rustix::stdio::stdin(), &frame).ok();
    }
}

/// Takes the sandbox's own id in a user namespace below the one that built the container. All the
/// container's other namespaces belong to the outer one, so that not even a process that regained
/// every capability here could change them.
fn enter_inner_namespace(uid: u32, gid: u32) -> io::Result<()> {
    // libcontainer has made the process undumpable, and with that its /proc files root's.
    sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
    sys::unshare(libc::CLONE_NEWUSER).map_err(during("enter the inner user namespace"))?;
    let write = |file: &str, text: &str| std::fs::write(file, text).map_err(during(file));
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{uid} 0 1"))?;
    write("/proc/self/gid_map", &format!("{gid} 0 1"))?;
    drop_capabilities().map_err(during("drop capabilities"))?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
}

fn during(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |why| io::Error::new(why.kind(), format!("{what}: {why}"))
}

/// Gives up all five sets of capabilities that a new user namespace comes with.
fn drop_capabilities() -> io::Result<()> {
    for capability in 0..64 {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // Beyond the last one that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(Into::into)
}

impl Executor for AgentExecutor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        match self.become_the_agent() {
            Ok(never) => match never {},
            Err(error) => {
                tell_the_host(&error);
                Err(ExecutorError::Other(error.to_string()))
            }
        }
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(()) // the program is a descriptor, not a path that could be missing
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(()) // the agent is executed with an empty environment
    }
}
