//! Does one thing of our own layer so many times, so that its instructions can be counted: those of many less those of none.
//!
//! ```text
//! instructions choose 1000    a backend is chosen of those that are available
//! instructions acquire 16     a warm sandbox is leased
//! instructions exec 16        a command is started in a sandbox, and its end heard
//! ```
//!
//! `scripts/bench/instructions` runs it by callgrind. All is done with the fake backend, in one thread, and no time is looked at.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{
    Availability, Backend as _, BackendKind, ByteSize, Command, Error, ErrorKind, Image, ProcessEvent,
    Profile, Result, SandboxName, SandboxSpec,
};
use agentkernel_pool::{Pool, PoolSettings};
use agentkernel_runtime::{BackendRequest, choice};
use agentkernel_testkit::FakeBackend;

/// As many are warm, of which no more than half are leased: what is taken is not replenished meanwhile.
const WARM: usize = 32;
/// Longer than any of this takes, under valgrind too.
const NEVER: Duration = Duration::from_secs(86_400);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.get(1).and_then(|word| word.parse::<usize>().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(verb), Some(count), Ok(runtime)) = (words.first(), count, runtime) else {
        eprintln!("instructions choose|acquire|exec COUNT");
        return ExitCode::from(2);
    };
    let done = runtime.block_on(async {
        match verb.as_str() {
            "choose" => choose(count),
            "acquire" => acquire(count).await,
            _ => exec(count).await,
        }
    });
    match done {
        // What was made is not taken down: that would be counted.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Of all kinds, the strongest of which is not available.
fn choose(count: usize) -> Result<()> {
    let available = || Availability::Available { facts: Vec::new() };
    let missing = || Availability::Unavailable { needs: "macOS".into(), hint: "use another".into() };
    let probed: Vec<(BackendKind, Availability)> = BackendKind::ALL
        .iter()
        .map(|kind| (*kind, if *kind == BackendKind::Apple { missing() } else { available() }))
        .collect();
    for _ in 0..count {
        std::hint::black_box(choice::choose(BackendRequest::Auto, std::hint::black_box(&probed))?);
    }
    Ok(())
}

fn spec(number: u64) -> Result<SandboxSpec> {
    SandboxSpec::builder(SandboxName::from_random(number), Profile::Restrictive).image(Image::Host).build()
}

async fn acquire(count: usize) -> Result<()> {
    let memory_max = ByteSize::mib(1 << 20);
    let settings =
        PoolSettings { refill_pause: NEVER, check_interval: NEVER, memory_max, ..PoolSettings::default() };
    let pool = Pool::new(Arc::new(FakeBackend::new()), settings)?;
    let spec = spec(1)?;
    let key = pool.poolable(&spec).map_err(|why| Error::new(ErrorKind::Internal, "pool the sandbox", why))?;
    pool.set_target(&key, WARM..=WARM)?;
    while pool.stats().warm < WARM {
        tokio::task::yield_now().await;
    }
    for _ in 0..count {
        std::mem::forget(pool.acquire(&spec).await?);
    }
    Ok(())
}

async fn exec(count: usize) -> Result<()> {
    let booted = FakeBackend::new().boot(&spec(1)?).await?;
    for _ in 0..count {
        let mut process = booted.sandbox.exec(&Command::new(["true"])).await?;
        while !matches!(process.next().await?, ProcessEvent::Exited(_)) {}
    }
    Ok(())
}
