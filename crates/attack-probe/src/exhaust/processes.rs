//! Processes, processor time, timers and signals: too many of them, and those that do not go away.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::{Ended, Exhaustion, Options, Progress};
use crate::sys::{self, Errno, Fork, Reply, call};

pub const ALL: &[Exhaustion] = &[
    Exhaustion { name: "fork-bomb", run: fork_bomb },
    Exhaustion { name: "zombies", run: zombies },
    Exhaustion { name: "cpu-spin", run: cpu_spin },
    Exhaustion { name: "timers", run: timers },
    Exhaustion { name: "signal-queue", run: signal_queue },
    Exhaustion { name: "ignore-sigterm", run: ignore_sigterm },
    Exhaustion { name: "setsid-daemon", run: setsid_daemon },
    Exhaustion { name: "hold-stdout", run: hold_stdout },
    Exhaustion { name: "never-read-stdin", run: never_read_stdin },
];

/// Repeats a step until the kernel refuses it or it has been done often enough.
fn until_refused(count_max: u64, progress: &Progress, mut step: impl FnMut() -> Reply) -> (u64, Errno) {
    for count in 0..count_max {
        if let Err(errno) = step() {
            return (count, errno);
        }
        progress.tell(count + 1);
    }
    (count_max, 0)
}

/// Children that do nothing, as many as there may be, alive together for a second.
fn fork_bomb(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let mut children = Vec::new();
    let (count, errno) = until_refused(options.count(), progress, || match sys::fork()? {
        Fork::Child => idle_child(),
        Fork::Parent(pid) => {
            children.push(pid);
            Ok(pid.into())
        }
    });
    sys::pause_for(options.time(1));
    for pid in &children {
        let _already_gone = sys::kill(*pid, libc::SIGKILL);
    }
    for pid in &children {
        sys::wait(*pid, Duration::from_secs(5));
    }
    Ok(Ended { count, errno, detail: "forks succeeded, and all lived together".into() })
}

fn idle_child() -> ! {
    sys::die_with_parent();
    sys::pause_for(Duration::from_secs(600));
    sys::exit_now(0);
}

/// Children that end at once and are never waited for.
fn zombies(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let (count, errno) = until_refused(options.count(), progress, || match sys::fork()? {
        Fork::Child => sys::exit_now(0),
        Fork::Parent(pid) => Ok(pid.into()),
    });
    sys::pause_for(options.time(1));
    Ok(Ended { count, errno, detail: "children ended and were never waited for".into() })
}

/// Every processor busy at once.
fn cpu_spin(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    let end = Instant::now() + options.time(10);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut children = Vec::new();
    for _ in 1..processors {
        match sys::fork().map_err(|errno| format!("fork failed with errno {errno}"))? {
            Fork::Child => {
                sys::die_with_parent();
                spin_until(end);
                sys::exit_now(0);
            }
            Fork::Parent(pid) => children.push(pid),
        }
    }
    spin_until(end);
    for pid in children {
        sys::wait(pid, Duration::from_secs(60));
    }
    let used_ms = processor_ms()?;
    Ok(Ended { count: used_ms, errno: 0, detail: format!("ms of processor time, in {processors} processes") })
}

fn spin_until(end: Instant) {
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// What this process and its children have used: struct rusage begins with user and system time.
fn processor_ms() -> Result<u64, String> {
    let mut total = 0;
    for who in [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN] {
        let mut usage = [0; 144];
        call!(libc::SYS_getrusage, who, &mut usage).map_err(|errno| format!("getrusage: errno {errno}"))?;
        let field = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| usage[at + i]));
        total += (field(0) + field(16)) * 1_000 + (field(8) + field(24)) / 1_000;
    }
    Ok(total)
}

/// Timers that never fire. struct sigevent says at 12 that nobody is to be told.
fn timers(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let mut event = [0; 64];
    event[12..16].copy_from_slice(&libc::SIGEV_NONE.to_ne_bytes());
    let (count, errno) = until_refused(options.count(), progress, || {
        call!(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, &mut event, &mut [0; 4])
    });
    Ok(Ended { count, errno, detail: "timers were created".into() })
}

/// Signals that wait, because the process does not take them.
fn signal_queue(options: &Options, progress: &Progress) -> Result<Ended, String> {
    const SIGNAL: i32 = 40;
    const SI_QUEUE: i32 = -1;
    let mut set = (1_u64 << (SIGNAL - 1)).to_ne_bytes();
    call!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &mut set, 0, 8)
        .map_err(|errno| format!("the signal cannot be held back: errno {errno}"))?;
    let mut info = [0; 128];
    info[..4].copy_from_slice(&SIGNAL.to_ne_bytes());
    info[8..12].copy_from_slice(&SI_QUEUE.to_ne_bytes());
    let (count, errno) = until_refused(options.count(), progress, || {
        call!(libc::SYS_rt_sigqueueinfo, sys::own_pid(), SIGNAL, &mut info)
    });
    Ok(Ended { count, errno, detail: "signals were queued".into() })
}

/// Goes on when it is asked to end.
fn ignore_sigterm(options: &Options, progress: &Progress) -> Result<Ended, String> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        sys::ignore_signal(signal);
    }
    progress.say("ready", u64::from(std::process::id()), 0, "SIGTERM is ignored from now on");
    sleep_through(options.time(60));
    Ok(Ended { count: 1, errno: 0, detail: "nobody killed it".into() })
}

/// Signals that are not ignored would cut a single pause short.
fn sleep_through(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sys::pause_for(end.saturating_duration_since(Instant::now()));
    }
}

/// Leaves a daemon behind, in a session of its own, whose id is in the file.
fn setsid_daemon(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    let path = options.path()?;
    let time = options.time(600);
    let child = match sys::fork().map_err(|errno| format!("fork failed with errno {errno}"))? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let _leads_already = call!(libc::SYS_setsid);
            match sys::fork() {
                Ok(Fork::Child) => be_the_daemon(path, time),
                _ => sys::exit_now(0),
            }
        }
    };
    sys::wait(child, Duration::from_secs(5));
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            Some(pid) => return Ok(Ended { count: pid, errno: 0, detail: "is the daemon's id".into() }),
            None if Instant::now() > deadline => return Err("the daemon wrote no id".into()),
            None => sys::pause_for(Duration::from_millis(10)),
        }
    }
}

/// Lets go of input and output, so that only its being there is in the way.
fn be_the_daemon(path: &std::path::Path, time: Duration) -> ! {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        for fd in 0..3 {
            let _still_open = call!(libc::SYS_dup3, null.as_raw_fd(), fd, 0);
        }
    }
    let _no_id_is_told = fs::write(path, format!("{}\n", sys::own_pid()));
    sleep_through(time);
    sys::exit_now(0)
}

/// Ends at once, and leaves a child that holds the output open.
fn hold_stdout(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    match sys::fork().map_err(|errno| format!("fork failed with errno {errno}"))? {
        Fork::Parent(pid) => {
            let count = u64::try_from(pid).unwrap_or(0);
            Ok(Ended { count, errno: 0, detail: "is the process that holds the output".into() })
        }
        Fork::Child => {
            let _leads_already = call!(libc::SYS_setsid);
            sleep_through(options.time(30));
            sys::exit_now(0)
        }
    }
}

/// Lets its input fill up.
fn never_read_stdin(options: &Options, progress: &Progress) -> Result<Ended, String> {
    progress.say("ready", 0, 0, "the input is not read");
    sleep_through(options.time(30));
    Ok(Ended { count: 0, errno: 0, detail: "bytes were read".into() })
}
