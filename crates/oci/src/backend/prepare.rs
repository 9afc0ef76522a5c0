//! What is decided, taken and written down before anything is started.

use std::time::{SystemTime, UNIX_EPOCH};

use agentkernel_core::{Backend as _, Error, ErrorKind, Result, SandboxSpec};

use super::OciBackend;
use crate::bundle;
use crate::engine::Runtime;
use crate::idblock::{self, IdBlock};
use crate::lock::LockFile;
use crate::plan::Plan;
use crate::posture::Expected;
use crate::random::random_bytes;
use crate::record::{self, Record, Stale};

/// A description that has become a plan, with everything that is held for it.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) record: Record,
    pub(super) name_lock: LockFile,
    pub(super) block: Option<IdBlock>,
}

impl OciBackend {
    /// Plans a sandbox, and takes for it what only one can have. After an error nothing is taken.
    pub(super) fn prepare(&self, spec: &SandboxSpec, runtime: Option<&Runtime>) -> Result<Prepared> {
        self.runtime.prepare().map_err(|why| {
            Error::new(ErrorKind::Host, "prepare the runtime folder", why).on(self.runtime.path().display())
        })?;
        // A zygote that cannot be told fails at the order, too.
        self.told.call_once(|| drop(self.zygote.keeps_records_in(&self.runtime)));
        let mut name_lock = record::take_name(&self.runtime, spec.name())?;
        let mut block = None;
        match self.plan(spec, runtime, &mut name_lock, &mut block) {
            Ok((plan, record)) => Ok(Prepared { plan, record, name_lock, block }),
            Err(error) => {
                // Nobody else would: there is no supervisor yet. What cannot be removed is reaped by its lock.
                drop(name_lock.remove());
                drop(block.map(IdBlock::give_back));
                Err(error)
            }
        }
    }

    /// Decides everything, and writes down what the next start must know if this one is killed.
    fn plan(
        &self,
        spec: &SandboxSpec,
        runtime: Option<&Runtime>,
        name_lock: &mut LockFile,
        block: &mut Option<IdBlock>,
    ) -> Result<(Plan, Record)> {
        if self.facts.root {
            *block = Some(self.take_block(spec)?);
        }
        let mut facts = self.facts.for_plan(spec, block.as_ref().map(|block| block.first_id));
        facts.runtime = runtime.cloned();
        let mut plan = bundle::plan(spec, &facts)?;
        let expected = Expected::of(spec, &facts, &plan);
        if let Some(weaken) = &self.weaken {
            weaken(&mut plan);
        }
        let record = Record {
            name: spec.name().clone(),
            backend: self.kind(),
            cgroup: facts.cgroup.clone(),
            init: None,
            expected,
            token: random_bytes()?,
            created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        };
        write_record(name_lock, &record)?;
        if let Some(block) = block {
            let note = Stale::of_group(facts.cgroup);
            let note = serde_json::to_vec(&note).map_err(|why| unwritable(&why))?;
            block.lock.write(&note).map_err(|why| unwritable(&why))?;
        }
        Ok((plan, record))
    }

    fn take_block(&self, spec: &SandboxSpec) -> Result<IdBlock> {
        // Neighbouring names begin at unrelated blocks, so that a hundred at once do not queue up.
        let start = spec
            .name()
            .as_str()
            .bytes()
            .fold(std::process::id(), |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        idblock::allocate(start, record::reap)
    }
}

fn unwritable(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, "write the sandbox's record", why)
}

pub(super) fn write_record(lock: &mut LockFile, record: &Record) -> Result<()> {
    let json = record.to_json().map_err(|why| unwritable(&why))?;
    lock.write(&json).map_err(|why| unwritable(&why).on(lock.path().display()))
}
