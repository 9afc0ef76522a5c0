//! Comes back to a command that runs in the background: first what is remembered, then what it says.

use agentkernel_api::{CommandResult, ErrorKind, ServerMessage, Started};

use super::exec::of;
use super::socket::{Incoming, Outgoing};
use super::{Client as _, Input as _};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Guest;
use crate::keeper::Known;

/// Until the command ends. A client that leaves leaves it running.
pub async fn attach(
    daemon: &Daemon,
    guest: &Guest,
    known: Known,
    client: &mut Outgoing,
    input: &mut Incoming,
) -> Outcome<CommandResult> {
    let (sandbox, pid) = (guest.view.borrow().id.clone(), known.info.pid);
    client
        .started(Started { sandbox: sandbox.clone(), pid, origin: None, warning: None })
        .await
        .map_err(of)?;
    let control = known.control.clone();
    tokio::select! {
        result = replay(daemon, guest, known, client) => Ok(CommandResult { sandbox, ..result? }),
        left = input.pass_on(control) => Err(of(left)),
    }
}

async fn replay(
    daemon: &Daemon,
    guest: &Guest,
    known: Known,
    client: &mut Outgoing,
) -> Outcome<CommandResult> {
    let Some(mut end) = known.end else {
        let why = "another client listens to it";
        return Err(Failure::new(ErrorKind::Conflict, "attach to the command", why).on(known.info.pid));
    };
    let (mut from, mut is_new) = (0, true);
    loop {
        // Looked at before the log: its last output is there by the time it has ended.
        let ending = end.borrow_and_update().clone();
        let page = guest.log.read(from);
        if page.skipped > 0 && !(is_new && page.skipped == page.next) {
            let notice = format!("{} pieces of output are not remembered any more", page.skipped);
            client.say(&ServerMessage::Notice(notice)).await.map_err(of)?;
        }
        (from, is_new) = (page.next, false);
        let is_over = page.pieces.is_empty();
        for piece in page.pieces.into_iter().filter(|piece| piece.pid == known.info.pid) {
            client.output(piece.stream, piece.bytes).await.map_err(of)?;
        }
        match ending {
            Some(ending) if is_over => return Ok(ended(guest, ending)),
            _ if !is_over => continue,
            _ => {}
        }
        tokio::select! {
            () = guest.log.grown(from) => {}
            // An error means that whoever listened is gone, and its last word is there.
            changed = end.changed() => if changed.is_err() && end.borrow().is_none() {
                return Ok(ended(guest, None));
            },
            () = tokio::time::sleep(daemon.limits().ping_interval) => client.tick().await.map_err(of)?,
        }
    }
}

/// How it ended; a command that nobody saw end did so with its sandbox.
fn ended(guest: &Guest, ending: Option<CommandResult>) -> CommandResult {
    ending.unwrap_or_else(|| {
        let verdict = guest.fate.verdict();
        CommandResult {
            cause: verdict.as_ref().map(|verdict| verdict.cause),
            detail: verdict.map(|verdict| verdict.detail),
            ..CommandResult::default()
        }
    })
}
