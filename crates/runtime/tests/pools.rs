//! The pool on machines of a real QEMU, emulated: the one pool that there is keeps them warm like any other sandbox.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{
    Availability, Backend as _, ByteSize, Command, Image, Limit, Limits, Profile, Sandbox, SandboxName,
    SandboxSpec,
};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings, setup};
use agentkernel_pool::{Lease, Origin, Pool, PoolSettings};
use agentkernel_testkit::{available_or_skip, listen, random_u64, tool_or_skip};
use tempfile::TempDir;

/// How long a machine may take to be warm on a busy host.
const WARM_DEADLINE: Duration = Duration::from_secs(120);

/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// A small system: a static busybox and what this test says.
fn root(busybox: &Path, folder: &Path) -> PathBuf {
    let root = folder.join("root");
    fs::create_dir_all(root.join("bin")).expect("made");
    fs::copy(busybox, root.join("bin/busybox")).expect("copied");
    for word in ["sh", "ls", "cat"] {
        symlink("busybox", root.join("bin").join(word)).expect("linked");
    }
    root
}

/// A backend that works, or a loud skip. Its kernel is kept from run to run, below the target folder.
async fn backend(runtime: &Path) -> Option<MicrovmBackend> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("microvm");
    let search_path: Vec<PathBuf> = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from).into();
    if !home.join("kernel/about.json").exists()
        && let Err(error) = setup::from_debian(&home, &search_path, &mut |_| {})
    {
        let hint = error.hint.clone().unwrap_or_default();
        assert!(!available_or_skip("qemu", &Availability::Unavailable { needs: error.to_string(), hint }));
        return None;
    }
    let backend = MicrovmBackend::qemu(MicrovmSettings {
        home: Some(home),
        runtime_dir: runtime.to_owned(),
        search_path,
        snapshots: true,
        hardware: || Err("not asked for".into()),
    });
    available_or_skip("qemu", &backend.probe().await).then_some(backend)
}

async fn says(sandbox: &dyn Sandbox, script: &str) -> String {
    let command = Command::new(["sh", "-c", script]);
    listen(sandbox.exec(&command).await.expect("started")).await.expect("heard").text()
}

/// The next machine, once one is warm.
async fn warm(pool: &Pool, spec: &SandboxSpec) -> Lease {
    let deadline = Instant::now() + WARM_DEADLINE;
    while pool.stats().warm == 0 {
        assert!(Instant::now() < deadline, "no machine is warm: {:?}", pool.stats());
        tokio::time::sleep(PAUSE).await;
    }
    let began = Instant::now();
    let lease = pool.acquire(spec).await.expect("leased");
    println!("leased in {:?}", began.elapsed());
    assert!(matches!(lease.origin, Origin::Warm { .. }), "{:?}", lease.origin);
    lease
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_machine_has_one_tenant_and_a_pool_leaves_none() {
    let Some(busybox) = tool_or_skip("busybox") else { return };
    let runtime: TempDir = tempfile::tempdir().expect("a folder");
    let Some(backend) = backend(runtime.path()).await else { return };
    let image = Image::Rootfs(root(&busybox, runtime.path()));
    let name = SandboxName::from_random(random_u64());
    let spec =
        SandboxSpec::builder(name, Profile::Restrictive).image(image).emulate(true).build().expect("sound");
    let pool = Pool::new(Arc::new(backend), PoolSettings { target: 1..=1, ..PoolSettings::default() });
    let pool = pool.expect("the settings make sense");
    let key = pool.poolable(&spec).expect("machines are poolable");
    pool.set_target(&key, 1..=1).expect("set");
    let one = warm(&pool, &spec).await;
    let secrets = "cat /proc/sys/kernel/random/boot_id; echo mine >/workspace/mine; ls /workspace";
    let of_one = says(one.sandbox(), secrets).await;
    let (name_of_one, began) = (one.sandbox().name().clone(), Instant::now());
    one.stop().await.expect("stopped");
    println!("stopped in {:?}", began.elapsed());
    let other = warm(&pool, &spec).await;
    let of_other = says(other.sandbox(), "cat /proc/sys/kernel/random/boot_id; ls /workspace").await;
    assert!(of_one.ends_with("mine") && !of_other.contains("mine"), "{of_one:?}, then {of_other:?}");
    assert_ne!(of_one.lines().next(), of_other.lines().next(), "it has booted once for two tenants");
    assert_ne!(other.sandbox().name(), &name_of_one);
    other.stop().await.expect("stopped");
    pool.shutdown().await.expect("everything is stopped");
    let held = fs::read_dir(runtime.path().join("microvm")).expect("listed").count();
    assert_eq!(held, 0, "a machine is held still");
}

/// Machines of the measurement below, and the memory of each.
const MANY: usize = 100;
const SMALL: Limit<ByteSize> = Limit::At(ByteSize::mib(64));

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, with some 10 GB of memory; run it with --release --ignored --nocapture"]
async fn a_hundred_machines_are_warm_at_once_and_each_serves_one_tenant() {
    let Some(busybox) = tool_or_skip("busybox") else { return };
    let runtime: TempDir = tempfile::tempdir().expect("a folder");
    let Some(backend) = backend(runtime.path()).await else { return };
    let image = Image::Rootfs(root(&busybox, runtime.path()));
    let spec = SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive);
    let limits = Limits { memory: SMALL, ..Limits::of(Profile::Restrictive) };
    let spec = spec.image(image).limits(limits).emulate(true).build().expect("sound");
    let settings = PoolSettings { warm_max: MANY, target: MANY..=MANY, ..PoolSettings::default() };
    let pool = Pool::new(Arc::new(backend), settings).expect("the settings make sense");
    let key = pool.poolable(&spec).expect("machines are poolable");
    let began = Instant::now();
    pool.set_target(&key, MANY..=MANY).expect("set");
    while pool.stats().warm < MANY {
        assert!(began.elapsed() < WARM_DEADLINE * 5, "{:?}", pool.stats());
        tokio::time::sleep(PAUSE).await;
    }
    println!("{MANY} are warm after {:?}", began.elapsed());
    pool.set_target(&key, 0..=0).expect("set");
    let (pool, spec, began) = (Arc::new(pool), Arc::new(spec), Instant::now());
    let tenants: Vec<_> =
        (0..MANY).map(|_| tokio::spawn(tenant(Arc::clone(&pool), Arc::clone(&spec)))).collect();
    let (mut ids, mut times, mut leases, mut bytes) = (BTreeSet::new(), Vec::new(), Vec::new(), 0);
    for tenant in tenants {
        let (lease, id) = tenant.await.expect("no panic");
        times.push(began.elapsed());
        ids.insert(id);
        bytes += lease.sandbox().usage().await.expect("told").memory_bytes.expect("a VMM holds memory");
        leases.push(lease);
    }
    println!("{MANY} commands at once: all after {:?}", times.last().expect("some"));
    println!("each VMM holds {} MiB", (bytes >> 20) / MANY as u64);
    assert_eq!(ids.len(), MANY, "two tenants had one machine");
    drop(leases);
    pool.shutdown().await.expect("everything is stopped");
    assert_eq!(fs::read_dir(runtime.path().join("microvm")).expect("listed").count(), 0);
}

/// Somebody who wants one machine for one command.
async fn tenant(pool: Arc<Pool>, spec: Arc<SandboxSpec>) -> (Lease, String) {
    let lease = pool.acquire(&spec).await.expect("leased");
    assert!(matches!(lease.origin, Origin::Warm { .. }), "{:?}", lease.origin);
    let id = says(lease.sandbox(), "cat /proc/sys/kernel/random/boot_id").await;
    (lease, id)
}
