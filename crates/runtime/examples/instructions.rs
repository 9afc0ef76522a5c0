//! Does one thing of our own layer so many times, so that its instructions can be counted: those of many less those of none.
//!
//! ```text
//! instructions choose 1000    a backend is chosen of those that are available
//! instructions acquire 16     a warm sandbox is leased
//! instructions exec 16        a command is started over a link, and its end heard
//! ```
//!
//! `scripts/bench/instructions` runs it by callgrind. All is done in one thread, with the fake backend and a guest that is played,
//! and no time is looked at.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{
    Availability, BackendKind, ByteSize, Command, Error, ErrorKind, Image, ProcessEvent, Profile, Result,
    SandboxName, SandboxSpec,
};
use agentkernel_link::{ExecDefaults, GUEST_BUILD, HelloOptions, Token, connect};
use agentkernel_pool::{Pool, PoolSettings};
use agentkernel_protocol::{
    Decoder, Direction, Exited, Kind, PROTOCOL_VERSION, Ready, Status, ToHost, Usage, encode,
};
use agentkernel_runtime::{BackendRequest, choice};
use agentkernel_testkit::FakeBackend;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;

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
    let done = match verb.as_str() {
        "choose" => counted(|| choose(count)),
        "acquire" => acquire(&runtime, count),
        _ => exec(&runtime, count),
    };
    match done {
        // What was made is not taken down: that would be counted.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is done in here is counted, and nothing else: callgrind knows it by its name.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
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

fn acquire(runtime: &Runtime, count: usize) -> Result<()> {
    let memory_max = ByteSize::mib(1 << 20);
    let settings =
        PoolSettings { refill_pause: NEVER, check_interval: NEVER, memory_max, ..PoolSettings::default() };
    let spec = spec(1)?;
    let pool = runtime.block_on(async {
        let pool = Pool::new(Arc::new(FakeBackend::new()), settings)?;
        let key =
            pool.poolable(&spec).map_err(|why| Error::new(ErrorKind::Internal, "pool the sandbox", why))?;
        pool.set_target(&key, WARM..=WARM)?;
        while pool.stats().warm < WARM {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Error>(pool)
    })?;
    counted(|| {
        runtime.block_on(async {
            for _ in 0..count {
                std::mem::forget(pool.acquire(&spec).await?);
            }
            Ok(())
        })
    })
}

fn exec(runtime: &Runtime, count: usize) -> Result<()> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let link = runtime.block_on(async {
        tokio::spawn(guest(theirs));
        let hello = HelloOptions { token: TOKEN, mounts: Vec::new(), deadline: NEVER };
        connect(Box::new(ours), hello).await
    })?;
    let link = link.0;
    let round_trip = async || {
        let mut process = link.exec(&Command::new(["true"]), &ExecDefaults::default()).await?;
        while !matches!(process.next().await?, ProcessEvent::Exited(_)) {}
        Ok::<_, Error>(())
    };
    // What is done once only is none of it.
    runtime.block_on(round_trip())?;
    counted(|| {
        runtime.block_on(async {
            for _ in 0..count {
                round_trip().await?;
            }
            Ok(())
        })
    })
}

const TOKEN: Token = Token([7; 32]);

/// A guest agent that starts nothing: every command runs and has ended. What it does is counted as well, and is little.
async fn guest(mut stream: DuplexStream) -> std::io::Result<()> {
    let (mut decoder, mut out) = (Decoder::new(Direction::ToGuest), BytesMut::new());
    let say = |channel, message: &ToHost, out: &mut BytesMut| {
        encode(channel, message, out).map_err(std::io::Error::other)
    };
    while stream.read_buf(decoder.buffer()).await? > 0 {
        while let Some(frame) = decoder.next_frame().map_err(std::io::Error::other)? {
            match frame.kind {
                Kind::Hello => say(0, &ready(), &mut out)?,
                Kind::Start => {
                    say(frame.channel, &ToHost::Started(1), &mut out)?;
                    let usage = Usage { user_us: 0, system_us: 0, max_rss_kib: 0, wall_ns: 0 };
                    let exited = Exited { status: Status::Code(0), timed_out: false, usage };
                    say(frame.channel, &ToHost::Exited(exited), &mut out)?;
                }
                _ => {}
            }
        }
        stream.write_all(&out.split()).await?;
    }
    Ok(())
}

fn ready() -> ToHost {
    ToHost::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        build: GUEST_BUILD.to_owned(),
        token: TOKEN,
        started_ns: 0,
        ready_ns: 0,
        pid: 1,
        last_channel: 0,
        survivors: Vec::new(),
    })
}
