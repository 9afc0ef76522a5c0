//! A command that goes on without a client: its output goes to the log.

use std::sync::Arc;

use agentkernel_api::{CommandResult, EventKind, ProcessInfo};
use agentkernel_core::{Process, ProcessEvent};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Ask, Ending, Keeper};
use crate::convert;
use crate::fate::Fate;
use crate::log::{Log, Piece};

impl Keeper {
    /// Listens to a command from now on.
    pub fn keep_process(
        &mut self,
        info: ProcessInfo,
        process: Box<dyn Process>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let pid = info.pid;
        let (told, end) = watch::channel(None);
        self.tell(EventKind::Started, Some(pid));
        self.table.add(info, process.control(), Some(end));
        let (log, fate, in_use) = (self.log.clone(), self.fate.clone(), self.uses.begin());
        let (keeper, sandbox) = (self.myself.clone(), self.view.borrow().id.clone());
        tokio::spawn(async move {
            let ending = listen(process, &log, &fate).await.map(|result| CommandResult { sandbox, ..result });
            told.send_replace(Some(ending.clone()));
            // A keeper that has gone needs no telling.
            if let Some(keeper) = keeper.upgrade() {
                drop(keeper.send(Ask::Left(pid, ending)));
            }
            drop((in_use, place));
        });
    }
}

/// Until its end, or that of its sandbox.
async fn listen(mut process: Box<dyn Process>, log: &Arc<Log>, fate: &Fate) -> Ending {
    let pid = process.pid();
    let mut output_bytes = 0;
    loop {
        let event = tokio::select! {
            event = process.next() => event,
            _ = fate.decided() => return None,
        };
        match event {
            Ok(ProcessEvent::Output(stream, bytes)) => {
                output_bytes += bytes.len() as u64;
                log.push(Piece { pid, stream, bytes });
            }
            Ok(ProcessEvent::Exited(exited)) => {
                return Some(CommandResult { output_bytes, ..convert::exited(&exited) });
            }
            Err(error) => {
                tracing::debug!(%error, pid, "a background command was lost");
                return None;
            }
        }
    }
}
