//! A backend that does what the test says, and tells what was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, CauseOfDeath, Command, Ended, Error, ErrorKind,
    Files, Limits, Posture, Process, Profile, Resize, Result, Sandbox, SandboxName, SandboxSpec,
    SandboxSpecBuilder, Stopped,
};
use agentkernel_pool::{Pool, PoolKey, PoolSettings};
use agentkernel_testkit::{FakeBackend, random_u64};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a boot takes, unless the test says otherwise.
pub const BOOT: Duration = Duration::from_millis(20);

#[derive(Clone, Default)]
pub struct Stub {
    pub boots: Arc<Boots>,
    living: Arc<Mutex<BTreeMap<SandboxName, Arc<Remote>>>>,
    pub can_resize: bool,
}

/// What boots do, and what they did.
#[derive(Default)]
pub struct Boots {
    pub begun: AtomicUsize,
    pub under_way: AtomicUsize,
    pub most_at_once: AtomicUsize,
    /// How many of the next ones fail.
    pub fail: AtomicUsize,
    pub panic: AtomicBool,
    pub hang: AtomicBool,
    /// What is made from here on ends at once.
    pub die: AtomicBool,
    /// What is made from here on does not answer.
    pub deaf: AtomicBool,
    /// What is made from here on does not end.
    pub stop_hangs: AtomicBool,
    /// Nothing can rehearse.
    pub rehearsal_fails: AtomicBool,
    /// What is made from here on refuses to be resized.
    pub resize_fails: AtomicBool,
    pub time: Mutex<Option<Duration>>,
    /// Every name that was ever booted.
    pub names: Mutex<BTreeSet<SandboxName>>,
    pub stopped: AtomicUsize,
    pub killed: AtomicUsize,
}

/// What the test holds of a sandbox.
pub struct Remote {
    pub spec: SandboxSpec,
    ended: watch::Sender<Option<Ended>>,
    /// Pings are not answered.
    pub deaf: AtomicBool,
    pub pings: AtomicUsize,
    /// How long an answer takes.
    pub ping_time: Mutex<Duration>,
    pub resized: Mutex<Vec<Resize>>,
    pub rehearsals: AtomicUsize,
    stop_hangs: AtomicBool,
    resize_fails: bool,
}

impl Remote {
    /// The sandbox ends by itself.
    pub fn die(&self) {
        let detail = "the test killed it".to_owned();
        self.ended.send_replace(Some(Ended { cause: CauseOfDeath::OutOfMemory, detail }));
    }
}

impl Stub {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn resizable() -> Self {
        Self { can_resize: true, ..Self::default() }
    }

    pub fn pool(&self, settings: PoolSettings) -> Pool {
        Pool::new(Arc::new(self.clone()), settings).expect("the settings make sense")
    }

    /// A pool in which so many sandboxes of one kind are warm already.
    pub async fn warm_pool(&self, count: usize, settings: PoolSettings) -> Pool {
        let pool = self.pool(settings);
        pool.set_target(&key(&pool), count..=count).expect("set");
        until(|| pool.stats().warm == count).await;
        pool
    }

    /// The sandboxes that live: warm, leased, or on their way out.
    pub fn living(&self) -> Vec<Arc<Remote>> {
        self.map().values().cloned().collect()
    }

    pub fn remote(&self, name: &SandboxName) -> Option<Arc<Remote>> {
        self.map().get(name).cloned()
    }

    pub fn begun(&self) -> usize {
        self.boots.begun.load(SeqCst)
    }

    pub fn fail_next(&self, count: usize) {
        self.boots.fail.store(count, SeqCst);
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<SandboxName, Arc<Remote>>> {
        self.living.lock().expect("not poisoned")
    }
}

/// Counts a boot for as long as it is under way.
struct UnderWay<'a>(&'a Boots);

impl<'a> UnderWay<'a> {
    fn new(boots: &'a Boots) -> Self {
        boots.begun.fetch_add(1, SeqCst);
        let now = boots.under_way.fetch_add(1, SeqCst) + 1;
        boots.most_at_once.fetch_max(now, SeqCst);
        Self(boots)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Backend for Stub {
    fn kind(&self) -> BackendKind {
        BackendKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { resize: self.can_resize, ..FakeBackend::new().capabilities() }
    }

    async fn probe(&self) -> Availability {
        Availability::Available { facts: Vec::new() }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let boots = &self.boots;
        let _under_way = UnderWay::new(boots);
        let time = boots.time.lock().expect("not poisoned").unwrap_or(BOOT);
        if !time.is_zero() {
            sleep(time).await;
        }
        never_if(&boots.hang).await;
        assert!(!boots.panic.load(SeqCst), "the test wants it so");
        if boots.fail.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(told_to_fail("start the sandbox"));
        }
        let name = spec.name().clone();
        assert!(boots.names.lock().expect("not poisoned").insert(name.clone()), "{name} was booted before");
        let remote = Arc::new(Remote {
            spec: spec.clone(),
            ended: watch::Sender::new(None),
            deaf: AtomicBool::new(boots.deaf.load(SeqCst)),
            pings: AtomicUsize::new(0),
            ping_time: Mutex::default(),
            resized: Mutex::default(),
            rehearsals: AtomicUsize::new(0),
            stop_hangs: AtomicBool::new(boots.stop_hangs.load(SeqCst)),
            resize_fails: boots.resize_fails.load(SeqCst),
        });
        if boots.die.load(SeqCst) {
            remote.die();
        }
        self.map().insert(name.clone(), remote.clone());
        let sandbox = StubSandbox { name, remote, backend: self.clone(), stopped: false };
        Ok(Booted { sandbox: Box::new(sandbox), boot: time / 2, ready: time / 2 })
    }
}

async fn never_if(wanted: &AtomicBool) {
    if wanted.load(SeqCst) {
        std::future::pending::<()>().await;
    }
}

fn told_to_fail(what: &'static str) -> Error {
    Error::new(ErrorKind::Boot, what, "the stub was told to fail")
}

struct StubSandbox {
    name: SandboxName,
    remote: Arc<Remote>,
    backend: Stub,
    stopped: bool,
}

#[async_trait]
impl Sandbox for StubSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Fake
    }

    async fn exec(&self, _command: &Command) -> Result<Box<dyn Process>> {
        Err(Error::new(ErrorKind::CommandRefused, "run the command", "the stub runs none"))
    }

    async fn rehearse(&self) -> Result<()> {
        self.remote.rehearsals.fetch_add(1, SeqCst);
        let fails = self.backend.boots.rehearsal_fails.load(SeqCst);
        if fails { Err(told_to_fail("rehearse a command")) } else { Ok(()) }
    }

    fn files(&self) -> &dyn Files {
        unreachable!("the stub has no files")
    }

    async fn ping(&self) -> Result<Duration> {
        self.remote.pings.fetch_add(1, SeqCst);
        never_if(&self.remote.deaf).await;
        let time = *self.remote.ping_time.lock().expect("not poisoned");
        if !time.is_zero() {
            sleep(time).await;
        }
        Ok(time)
    }

    async fn posture(&self) -> Result<Posture> {
        Ok(Posture::default())
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        self.remote.resized.lock().expect("not poisoned").push(*to);
        if self.remote.resize_fails { Err(told_to_fail("resize the sandbox")) } else { Ok(()) }
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.remote.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.expect("the remote is held");
        ended.clone().expect("some")
    }

    async fn stop(mut self: Box<Self>) -> Result<Stopped> {
        never_if(&self.remote.stop_hangs).await;
        sleep(Duration::from_millis(5)).await;
        self.stopped = true;
        let cause = self.remote.ended.borrow().as_ref().map(|ended| ended.cause);
        Ok(Stopped { cause, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}

impl Drop for StubSandbox {
    fn drop(&mut self) {
        self.backend.map().remove(&self.name);
        let boots = &self.backend.boots;
        if self.stopped { &boots.stopped } else { &boots.killed }.fetch_add(1, SeqCst);
    }
}

/// A spec that differs from all others by its name alone.
pub fn builder() -> SandboxSpecBuilder {
    SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive)
}

pub fn spec() -> SandboxSpec {
    builder().build().expect("valid")
}

/// A spec of another key, by number.
pub fn spec_of(number: u32) -> SandboxSpec {
    let limits = Limits { open_files: 100 + number, ..Limits::of(Profile::Restrictive) };
    builder().limits(limits).build().expect("valid")
}

/// The key of [`spec`].
pub fn key(pool: &Pool) -> PoolKey {
    pool.poolable(&spec()).expect("poolable")
}

/// Waits for something that is about to be so, for as long as nothing takes.
pub async fn until(holds: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to be so");
}
