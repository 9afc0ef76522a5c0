//! Starts processes.
//!
//! A child that becomes a program can start in the agent's own memory: under a kernel in user space a copy of it costs
//! more than all the rest. It runs at the same time as the agent, on a stack of its own; both are lent to it until it has
//! executed its program or is gone, and it changes nothing of what it reads.

mod child;
mod plan;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use agentkernel_protocol::{Refused, Stage, Start, StdinMode, WindowSize};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

pub use self::child::SOCKET_FD;
pub use self::plan::{Failure, Plan, Work, refused};

use self::child::{Job, Stdio};
use crate::accept::Sockets;
use crate::group::Group;
use crate::process::{Process, Sink, Wiring};
use crate::sys::Stack;
use crate::{sys, terminal};

/// Starts processes, and keeps what that takes.
pub struct Spawner {
    /// The limit of open descriptors that the agent was started with.
    descriptors: libc::rlimit,
    /// Sockets that are listened on for workers.
    sockets: Sockets,
    /// Capabilities that nobody may gain who becomes another user. Looked up once: they become no more.
    bounding: OnceCell<u64>,
    /// Programs start in the agent's own memory.
    lends_memory: bool,
    /// The control group that children enter, where the agent is not in it.
    group: Option<Group>,
    /// What is lent to children that may not have executed anything yet, by their PIDs.
    loans: BTreeMap<i32, Loan>,
    /// A stack that was lent before, and is in memory already.
    spare: Option<Stack>,
}

/// What a child runs on in the agent's memory.
struct Loan {
    stack: Stack,
    /// In a place of its own, where it stays when the loan is moved.
    job: Box<Job>,
}

impl Spawner {
    /// Children get this limit of open descriptors, and enter this group.
    pub fn new(descriptors: libc::rlimit, lends_memory: bool, group: Option<Group>) -> Self {
        let (sockets, bounding, loans) = (Sockets::default(), OnceCell::new(), BTreeMap::new());
        Self { descriptors, sockets, bounding, lends_memory, group, loans, spare: None }
    }

    /// Starts what the host asks for. Whether it could be executed is known only later, when the process
    /// has said so: nothing here waits for it.
    pub fn spawn(&mut self, start: Start) -> Result<Process, Refused> {
        let started_ns = sys::monotonic_ns();
        let (timeout_ms, window) = (start.timeout_ms, start.output_window);
        let plan = Rc::new(Plan::new(start, &mut self.sockets)?);
        let prepare = |errno| refused(Stage::Prepare, errno, plan.preparation());
        let connection = connect(&plan).map_err(prepare)?;
        let bounding = if plan.user.is_some() { *self.bounding.get_or_init(sys::bounding_set) } else { 0 };
        let status = connection.status.as_raw_fd();
        let (plan_of_child, descriptors) = (plan.clone(), self.descriptors);
        let group = self.group.as_ref().map(Group::entrance);
        let job = Job { plan: plan_of_child, stdio: connection.stdio, status, group, descriptors, bounding };
        let pid = self.start(job).map_err(prepare)?;
        let deadline_ns = timeout_ms.map(|limit| started_ns.saturating_add(limit.saturating_mul(1_000_000)));
        Ok(Process::new(pid, plan, connection.ours, window, started_ns, deadline_ns))
    }

    fn start(&mut self, job: Job) -> rustix::io::Result<i32> {
        if self.lends_memory && matches!(job.plan.work, Work::Program(_)) {
            return self.start_in_our_memory(job);
        }
        match sys::fork() {
            Ok(Some(pid)) => Ok(pid),
            Ok(None) => child::run(&job),
            Err(error) => Err(sys::errno_of(&error)),
        }
    }

    fn start_in_our_memory(&mut self, job: Job) -> rustix::io::Result<i32> {
        let stack = self.spare.take().unwrap_or_else(Stack::new);
        let mut loan = Loan { stack, job: Box::new(job) };
        // SAFETY: the loan is held until the child is known to have executed something, or to be gone.
        let started = unsafe { sys::start_in_our_memory(&mut loan.stack, begin, &*loan.job) };
        let pid = started.map_err(|error| sys::errno_of(&error))?;
        self.loans.insert(pid, loan);
        Ok(pid)
    }

    /// The control group of children, if the agent is not in it.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// A child has executed its program, or was waited for: it has nothing of ours any more.
    pub fn is_on_its_own(&mut self, pid: i32) {
        if let Some(loan) = self.loans.remove(&pid) {
            self.spare = Some(loan.stack);
        }
    }
}

/// Where a child in the agent's memory begins.
extern "C" fn begin(job: *mut libc::c_void) -> libc::c_int {
    // SAFETY: it is the job of its loan, which nobody changes.
    child::run(unsafe { &*job.cast::<Job>() })
}

/// Both ends of everything between the agent and a child.
struct Connection {
    ours: Wiring,
    /// The child's ends by their numbers, and what closes them here once it has its own.
    stdio: Stdio,
    status: OwnedFd,
    _theirs: Vec<OwnedFd>,
}

fn connect(plan: &Plan) -> rustix::io::Result<Connection> {
    let (status, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&status, OFlags::NONBLOCK)?;
    let (stdin, stdout, stderr, stdio, held) = match plan.terminal {
        Some(size) => connect_terminal(size)?,
        None => connect_pipes(plan.stdin)?,
    };
    let ours = Wiring { status, stdin, stdout, stderr };
    Ok(Connection { ours, stdio, status: theirs, _theirs: held })
}

type Streams = (Sink, OwnedFd, Option<OwnedFd>, Stdio, Vec<OwnedFd>);

fn connect_terminal(size: WindowSize) -> rustix::io::Result<Streams> {
    let (master, path) = terminal::open(size)?;
    let writer = fcntl_dupfd_cloexec(&master, 3)?;
    Ok((Sink::Terminal(writer), master, None, Stdio::Terminal(path), Vec::new()))
}

fn connect_pipes(stdin: StdinMode) -> rustix::io::Result<Streams> {
    let (our_stdout, stdout) = output_pipe()?;
    let (our_stderr, stderr) = output_pipe()?;
    let numbers = |stdin: Option<&OwnedFd>| Stdio::Pipes {
        stdin: stdin.map(AsRawFd::as_raw_fd),
        stdout: stdout.as_raw_fd(),
        stderr: stderr.as_raw_fd(),
    };
    match stdin {
        StdinMode::Null => {
            let stdio = numbers(None);
            Ok((Sink::Nothing, our_stdout, Some(our_stderr), stdio, vec![stdout, stderr]))
        }
        StdinMode::Pipe => {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            let stdio = numbers(Some(&theirs));
            Ok((Sink::Pipe(ours), our_stdout, Some(our_stderr), stdio, vec![stdout, stderr, theirs]))
        }
    }
}

/// A pipe whose reading end never blocks; the writing end does, as programs expect.
fn output_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}
