//! The host side's end of one container: the control socket to its supervisor.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkernel_cgroup::{Hierarchy, QuickMoves};
use agentkernel_core::{
    BackendKind, Boundary, ByteSize, CauseOfDeath, Ended, Error, ErrorKind, Posture, Resize, Result,
    SandboxUsage, Stopped,
};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::paths::RuntimeDir;
use crate::record::{self, Record};
use crate::supervisor::{Ask, Report};

/// How long clean-up may take. The kernel takes down a namespace full of processes in well under a
/// second; more means that something hangs, and that is then said.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// How long a supervisor may take for an answer that it gives at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// One container, held by its supervisor.
pub(crate) struct OciBoundary {
    init: i32,
    record: Mutex<Record>,
    runtime: RuntimeDir,
    control: AsyncMutex<Asking>,
    state: watch::Receiver<State>,
}

/// One question at a time, and its answer.
struct Asking {
    write: OwnedWriteHalf,
    state: watch::Receiver<State>,
    /// How many orders were given. They are answered in order, also those whose answers nobody waited for.
    orders: u64,
}

/// What the supervisor has said so far.
#[derive(Debug, Clone, Default)]
struct State {
    ended: Option<Ended>,
    stopped: Option<Report>,
    /// How many orders it has answered, and the last answer. A channel of its own for answers would have room for dozens,
    /// in each of thousands of sandboxes.
    answers: u64,
    answer: Option<Report>,
}

/// Size of the buffer for reports, in bytes: each has some dozens, and thousands of sandboxes wait for the next one.
const REPORT_LEN: usize = 256;

/// Reads the first report: whether the container was started, and as which process.
pub(crate) async fn first_report(control: UnixStream) -> Result<(Control, i32)> {
    let (read, write) = control.into_split();
    let mut reader = BufReader::with_capacity(REPORT_LEN, read);
    let mut report = next_report(&mut reader).await;
    let mut moves = None;
    if report == Some(Report::Limited) {
        // A runtime moves its container into groups of its own now, and gVisor itself as well.
        moves = Some(QuickMoves::hold());
        report = next_report(&mut reader).await;
    }
    drop(moves);
    match report {
        Some(Report::Started { pid }) => Ok((Control { reader, write }, pid)),
        Some(Report::Failed { what, why }) => Err(explain(&what, &why)),
        Some(Report::Refused { why }) => Err(Error::new(ErrorKind::NameTaken, "get the sandbox back", why)),
        _ => {
            let why = "its supervisor ended without a word";
            Err(Error::new(ErrorKind::Boot, "start the sandbox", why))
        }
    }
}

pub(crate) fn line_of(ask: Ask) -> Vec<u8> {
    let mut line = serde_json::to_vec(&ask).unwrap_or_default();
    line.push(b'\n');
    line
}

fn explain(what: &str, why: &str) -> Error {
    let kind = if what == "prove the limits" { ErrorKind::ControlRefused } else { ErrorKind::Boot };
    let error = Error::new(kind, "start the sandbox", why).on(what);
    let hint = if why.contains("user namespace") || why.contains("EPERM") || why.contains("not permitted") {
        "agentkernel doctor says what this host allows"
    } else {
        return error;
    };
    error.hint(hint)
}

/// The control socket after the first report.
pub(crate) struct Control {
    reader: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl OciBoundary {
    pub(crate) fn new(control: Control, init: i32, record: Record, runtime: RuntimeDir) -> Self {
        let (sender, state) = watch::channel(State::default());
        tokio::spawn(listen(control.reader, sender, runtime.clone()));
        let control = AsyncMutex::new(Asking { write: control.write, state: state.clone(), orders: 0 });
        Self { init, record: Mutex::new(record), runtime, control, state }
    }

    /// Asks the supervisor to do something, and waits until it has.
    async fn ask(&self, ask: Ask, what: &str) -> Result<()> {
        let failed = |why: String| Error::new(ErrorKind::Boot, what, why).on(&self.record().name);
        let gone = || failed("its supervisor is gone".into());
        let mut asking = self.control.lock().await;
        asking.orders += 1;
        let orders = asking.orders;
        asking.write.write_all(&line_of(ask)).await.map_err(|_| gone())?;
        let answered = asking.state.wait_for(|state| state.answers >= orders);
        let answered = tokio::time::timeout(ANSWER_DEADLINE, answered).await;
        let state = answered.map_err(|_| failed("its supervisor does not answer".into()))?;
        match &state.map_err(|_| gone())?.answer {
            Some(Report::Refused { why }) => Err(failed(why.clone())),
            _ => Ok(()),
        }
    }

    /// Stops time or lets it go on, for all that is in the control group.
    async fn freeze(&self, frozen: bool, what: &'static str) -> Result<()> {
        let failed = |why: String| Error::new(ErrorKind::ControlRefused, what, why).on(&self.record().name);
        let plan = self.record().expected.cgroup.clone();
        let plan = plan.ok_or_else(|| failed("it has no control group".into()))?;
        let freeze = move || Hierarchy::detect().group(&plan.path).freeze(frozen);
        let frozen = tokio::task::spawn_blocking(freeze).await;
        frozen.map_err(|why| failed(why.to_string()))?.map_err(|why| failed(why.to_string()))
    }

    /// Whether time stands still in it.
    pub(crate) fn is_paused(&self) -> bool {
        // Where the group has no freezer, nothing was ever paused.
        let plan = self.record().expected.cgroup.clone();
        plan.is_some_and(|plan| Hierarchy::detect().group(&plan.path).is_frozen().unwrap_or(false))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Nothing that is done under the lock can panic halfway.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to read the posture before anything runs in the sandbox.
    pub(crate) fn posture_at_start(&self, hierarchy: &Hierarchy) -> impl FnOnce() -> Posture + Send + use<> {
        let (expected, init) = (self.record().expected.clone(), self.init);
        let group = expected.cgroup.as_ref().map(|plan| hierarchy.group(&plan.path));
        move || expected.check_at_start(init, group)
    }
}

async fn next_report(reader: &mut BufReader<OwnedReadHalf>) -> Option<Report> {
    let mut line = String::new();
    match reader.read_line(&mut line).await {
        Ok(length) if length > 0 => serde_json::from_str(&line).ok(),
        _ => None,
    }
}

async fn listen(mut reader: BufReader<OwnedReadHalf>, state: watch::Sender<State>, runtime: RuntimeDir) {
    while let Some(report) = next_report(&mut reader).await {
        match report {
            Report::Done | Report::Refused { .. } => state.send_modify(|state| {
                (state.answers, state.answer) = (state.answers + 1, Some(report));
            }),
            Report::Ended { cause, detail } => {
                state.send_modify(|state| state.ended = Some(Ended { cause, detail }));
            }
            other => state.send_modify(|state| state.stopped = Some(other)),
        }
    }
    if state.borrow().stopped.is_some() {
        return;
    }
    // The supervisor was killed. The kernel has killed the sandbox with it; what it could not
    // remove is removed here.
    let left = record::reap_stale(&runtime);
    let detail = "the sandbox's supervisor was killed".to_owned();
    state.send_modify(|state| {
        state.ended.get_or_insert(Ended { cause: CauseOfDeath::BoundaryCrashed, detail });
        let left = (!left.is_empty()).then(|| left.join("; "));
        state.stopped = Some(Report::Stopped { out_of_memory_kills: 0, memory_peak_bytes: None, left });
    });
}

#[async_trait]
impl Boundary for OciBoundary {
    fn kind(&self) -> BackendKind {
        self.record().backend
    }

    async fn posture(&self) -> Result<Posture> {
        let expected = self.record().expected.clone();
        Ok(expected.check(self.init, &record::siblings(&self.runtime, self.init)))
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        let mut record = self.record().clone();
        let failed = |why: String| Error::new(ErrorKind::ControlRefused, "resize the sandbox", why);
        let Some(plan) = &mut record.expected.cgroup else {
            return Err(failed("it has no control group".into()).on(&record.name));
        };
        plan.memory_bytes = to.memory.value().map(ByteSize::get);
        plan.cpu_milli = to.cpus.value().map(|cpus| u64::from(cpus.as_milli()));
        let plan = plan.clone();
        // The kernel may have to write a sandbox's memory back before it takes a lower limit.
        let resized = tokio::task::spawn_blocking(move || {
            let group = Hierarchy::detect().group(&plan.path);
            group.resize(&plan).map_err(|why| why.to_string()).and_then(|()| group.prove(&plan))
        });
        let resized =
            resized.await.map_err(|why| Error::new(ErrorKind::Internal, "resize the sandbox", why))?;
        resized.map_err(|why| failed(why).on(&record.name))?;
        record.rewrite(&self.runtime).map_err(|why| failed(why.to_string()).on(&record.name))?;
        *self.record() = record;
        Ok(())
    }

    async fn ended(&self) -> Ended {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.ended.is_some()).await {
            Ok(state) => state.ended.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| Ended { cause: CauseOfDeath::Killed, detail: "the sandbox was stopped".into() })
    }

    async fn pause(&self) -> Result<()> {
        self.freeze(true, "pause the sandbox").await
    }

    async fn resume(&self) -> Result<()> {
        self.freeze(false, "resume the sandbox").await
    }

    async fn persist(&self) -> Result<()> {
        self.ask(Ask::Persist, "let the sandbox outlive the program").await
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        let ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.ask(Ask::Lifetime { ms }, "change the lifetime of the sandbox").await
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        let plan = self.record().expected.cgroup.clone();
        Ok(plan.map_or_else(SandboxUsage::default, |plan| Hierarchy::detect().group(&plan.path).usage()))
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        // A supervisor that is gone cannot be told, and needs not be: see `listen`.
        drop(self.control.lock().await.write.write_all(&line_of(Ask::Stop)).await);
        let mut state = self.state.clone();
        let stopped = tokio::time::timeout(STOP_DEADLINE, state.wait_for(|state| state.stopped.is_some()));
        let failed = |why: &str| {
            Error::new(ErrorKind::Cleanup, "stop the sandbox", why)
                .hint("the next start of agentkernel tries again")
        };
        let state = stopped
            .await
            .map_err(|_| failed("its processes do not end"))?
            .map_err(|_| failed("nothing is known of its end"))?;
        let cause = state.ended.as_ref().map(|ended| ended.cause);
        match &state.stopped {
            Some(Report::Stopped { left: Some(left), .. }) => Err(failed(left)),
            Some(Report::Stopped { out_of_memory_kills, memory_peak_bytes, left: None }) => Ok(Stopped {
                cause,
                out_of_memory_kills: *out_of_memory_kills,
                memory_peak_bytes: *memory_peak_bytes,
            }),
            _ => Err(failed("its supervisor spoke out of turn")),
        }
    }
}
