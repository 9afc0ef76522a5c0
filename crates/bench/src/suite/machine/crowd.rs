//! Many sandboxes that wait together: what each of them takes of the host's memory, whoever it is counted for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Machine;
use super::course::{Crowd, Step};
use super::prepared::{Prepared, leave};
use super::running::Doing;
use crate::refusal::{Failure, host};
use crate::sandbox::client::Client;
use crate::sandbox::verdict::nanoseconds;
use crate::suite::interrupt::First;
use crate::suite::record::MARGINAL;
use crate::suite::subject::{Sample, Task};
use crate::text;

/// How long between two looks at the host's memory.
const LOOK: Duration = Duration::from_millis(250);
/// It is at rest where two of them differ by less. Bytes.
const STILL: u64 = 256 << 10;
/// Most looks: a host that others use is never at rest.
const LOOKS: u32 = 20;

/// Those that were made.
#[derive(Default)]
struct Many {
    stayed: Vec<Client>,
    names: Vec<String>,
}

impl Machine {
    /// Makes them, looks at the host's memory, and removes them. `None` where they cannot be made, or where others have given
    /// back more memory meanwhile than these take: there is no figure of it.
    pub(super) fn crowded(
        &self,
        task: &Task,
        count: u32,
        prepared: &Prepared,
    ) -> Result<Option<Sample>, Failure> {
        let Some(crowd) = &prepared.course.crowd else { return Ok(None) };
        let doing = self.doing(task.target, task.benchmark.key());
        let before = self.at_rest()?;
        let (began, mut many) = (Instant::now(), Many::default());
        let made = (0..count).try_for_each(|_| self.one_more(doing, crowd, prepared, &mut many));
        let total_ns = nanoseconds(began.elapsed());
        let after = made.and_then(|()| self.at_rest());
        self.remove(doing, crowd, prepared, many)?;
        let Some(taken) = after?.checked_sub(before).filter(|taken| *taken > 0) else { return Ok(None) };
        Ok(Some(Sample {
            round: task.round,
            began_ns: nanoseconds(began.duration_since(self.origin)),
            total_ns,
            parts: BTreeMap::new(),
            bytes: BTreeMap::from([(MARGINAL.to_owned(), taken / u64::from(count))]),
            exit_code: 0,
            stdout_sha256: text::sha256(format!("{}\n", self.site.token).as_bytes()),
        }))
    }

    fn one_more(
        &self,
        doing: Doing<'_>,
        crowd: &Crowd,
        prepared: &Prepared,
        many: &mut Many,
    ) -> Result<(), Failure> {
        let (name, by_daemon) = (self.own_name(), prepared.course.by_daemon);
        let bundle = prepared.staged.as_ref().map_or(Ok(()), |staged| staged.make(&name));
        bundle.map_err(|why| doing.failed(why))?;
        // Also of one that was made in part there may be something to remove.
        many.names.push(name.clone());
        match crowd {
            Crowd::Staying(words) => {
                let words = Step::quiet("stay", words.clone()).named(&name).words;
                many.stayed.push(self.stay(doing, &words, by_daemon)?);
            }
            Crowd::Made(make, _) => drop(self.done(doing, &make.named(&name), by_daemon)?),
        }
        Ok(())
    }

    fn remove(
        &self,
        doing: Doing<'_>,
        crowd: &Crowd,
        prepared: &Prepared,
        many: Many,
    ) -> Result<(), Failure> {
        for client in many.stayed {
            leave(client).map_err(|why| doing.failed(why))?;
        }
        let mut left = Vec::new();
        for name in &many.names {
            if let Crowd::Made(_, remove) = crowd {
                self.take_down(doing, &remove.named(name), prepared.course.by_daemon)?;
            }
            let of_bundle = prepared.staged.as_ref().map_or(Ok(Vec::new()), |staged| staged.remove(name));
            left.extend(of_bundle.map_err(|why| doing.failed(why))?);
        }
        doing.left_nothing(&left)
    }

    /// What the host cannot drop, once it is at rest: what has ended goes on giving memory back for a while. Bytes.
    fn at_rest(&self) -> Result<u64, Failure> {
        let failed = |why: std::io::Error| host("read the host's memory", MEMINFO, why);
        let mut last = held().map_err(failed)?;
        for _ in 0..LOOKS {
            if self.interrupt.wait(None, LOOK).map_err(failed)? == First::Interrupted {
                return Err(Failure::Interrupted);
            }
            let next = held().map_err(failed)?;
            if next.abs_diff(last) < STILL {
                return Ok(next);
            }
            last = next;
        }
        Ok(last)
    }
}

/// What the kernel counts of memory that it cannot drop: of processes, of shared memory, of itself. `MemAvailable` is no use for
/// less than a hundred sandboxes, because it also moves by some MiB on its own, with what lies in each processor's lists of
/// free pages and in the page cache.
const FIELDS: [&str; 6] = ["AnonPages", "Shmem", "SUnreclaim", "KernelStack", "PageTables", "Percpu"];

/// Where the host tells of its memory.
const MEMINFO: &str = "/proc/meminfo";

fn held() -> std::io::Result<u64> {
    sum(&std::fs::read_to_string(MEMINFO)?).ok_or_else(|| std::io::Error::other("it does not tell all of it"))
}

fn sum(meminfo: &str) -> Option<u64> {
    let field = |name: &&str| {
        let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(field, _)| field == name)?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    FIELDS.iter().map(field).sum::<Option<u64>>().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_dropped_is_added_up_and_a_missing_part_makes_no_sum() {
        let text = "MemFree: 9 kB\nAnonPages:     1 kB\nShmem: 2 kB\nShmemHugePages: 9 kB\nSUnreclaim: 4 kB\n\
                    KernelStack: 8 kB\nPageTables: 16 kB\nSecPageTables: 9 kB\nPercpu: 32 kB\n";
        assert_eq!(sum(text), Some(63 << 10));
        assert_eq!(sum(&text.replace("Percpu", "X")), None);
    }
}
