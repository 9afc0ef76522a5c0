//! Limits on what one process may use.

use crate::attempt::{Attempt, Control, Errno, Outcome, errno_of};
use crate::situation::Situation;
use crate::sys::{Reply, call};

type Run = fn(&Situation) -> Outcome;

const fn limit(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run)
}

// The hard limit counts: the soft one can be raised to it. What the kernel gives to everybody is no limit.
pub const ATTEMPTS: &[Attempt] = &[
    limit("rlimit-nofile", "open more files than the kernel's own limit", |_| {
        at_least(libc::RLIMIT_NOFILE as i64, KERNEL_NOFILE + 1)
    }),
    limit("rlimit-core", "write a core dump of any size", |_| at_least(libc::RLIMIT_CORE as i64, 1)),
    limit("rlimit-memlock", "lock as much memory as the kernel lets everybody", |_| {
        at_least(libc::RLIMIT_MEMLOCK as i64, KERNEL_MEMLOCK)
    }),
    limit("rlimit-nproc", "have as many processes as the kernel lets everybody", |_| {
        at_least(libc::RLIMIT_NPROC as i64, kernel_nproc())
    }),
    limit("rlimit-fsize", "write files without a limit", |_| at_least(libc::RLIMIT_FSIZE as i64, NO_LIMIT)),
    limit("rlimit-raise", "raise the hard limit on the size of core dumps", |_| raise()),
    // The right to do so is one that root of a container or virtual machine often lacks.
    Attempt::new("oom-score-lower", Control::Sandbox, "be the last to be killed when memory is out", |_| {
        let accepted = std::fs::write("/proc/self/oom_score_adj", "-1000").map(|()| "accepted".to_owned());
        accepted.map_err(|error| errno_of(&error)).into()
    })
    .refused(&[libc::EROFS, libc::ENOENT]),
];

const NO_LIMIT: u64 = libc::RLIM_INFINITY;

/// The hard limit of the first process.
const KERNEL_NOFILE: u64 = 4096;

/// The limit of the first process since Linux 5.16.
const KERNEL_MEMLOCK: u64 = 8 << 20;

/// The limit of the first process: half of the threads that there may be.
fn kernel_nproc() -> u64 {
    let threads = std::fs::read_to_string("/proc/sys/kernel/threads-max").ok();
    threads.and_then(|text| text.trim().parse::<u64>().ok()).map_or(NO_LIMIT, |threads| threads / 2)
}

/// Soft and hard.
fn get(resource: i64) -> Result<(u64, u64), Errno> {
    let mut limit = [0; 16];
    call!(libc::SYS_prlimit64, 0, resource, 0, &mut limit)?;
    let [low, high] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| limit[at + i])));
    Ok((low, high))
}

fn at_least(resource: i64, too_much: u64) -> Outcome {
    match get(resource) {
        Ok((soft, hard)) => {
            let shown = format!("soft {}, hard {}", show(soft), show(hard));
            if hard >= too_much { Outcome::open(shown) } else { Outcome::blocked(0, shown) }
        }
        Err(errno) => Outcome::error(format!("the limit cannot be read: errno {errno}")),
    }
}

fn show(limit: u64) -> String {
    if limit == NO_LIMIT { "unlimited".into() } else { limit.to_string() }
}

fn raise() -> Outcome {
    let resource = libc::RLIMIT_CORE as i64;
    let hard = match get(resource) {
        Ok((_, NO_LIMIT)) => return Outcome::open("the hard limit is already unlimited"),
        Ok((_, hard)) => hard,
        Err(errno) => return Outcome::error(format!("the limit cannot be read: errno {errno}")),
    };
    let mut limit = [0; 16];
    limit[8..].copy_from_slice(&(hard + 1).to_ne_bytes());
    let reply: Reply = call!(libc::SYS_prlimit64, 0, resource, &mut limit, 0);
    reply.into()
}
