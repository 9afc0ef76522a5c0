//! The tables, and every sentence that is said to them.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use agentkernel_api::{Sandbox, State};
use agentkernel_core::{Error, ErrorKind, Result};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Row;
use crate::clock::StoredDeadline;

/// Counts up with each change of the tables.
const VERSION: i32 = 1;

/// How long to wait for somebody else who reads the file.
const BUSY: Duration = Duration::from_secs(2);

const TABLES: &str = "
    CREATE TABLE sandboxes (
        number      INTEGER PRIMARY KEY AUTOINCREMENT,
        id          TEXT NOT NULL UNIQUE,
        owner       TEXT NOT NULL,
        name        TEXT NOT NULL,
        state       TEXT NOT NULL,
        cause       TEXT,
        detail      TEXT,
        labels      TEXT NOT NULL,
        deadline_ns INTEGER,
        boot_id     TEXT,
        request     TEXT NOT NULL,
        sandbox     TEXT NOT NULL
    );
    CREATE INDEX by_name ON sandboxes (owner, name);
    CREATE INDEX by_state ON sandboxes (state);
";

/// Opens the file, with the tables of this version.
pub fn open(path: &Path) -> Result<Connection> {
    let wrong = |why: rusqlite::Error| failed("open the store", path, why);
    let mut connection = Connection::open(path).map_err(wrong)?;
    connection.busy_timeout(BUSY).map_err(wrong)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(wrong)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(wrong)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20).map_err(wrong)?;
    let version: i32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrong)?;
    match version {
        0 => make(&mut connection).map_err(wrong)?,
        VERSION => {}
        other => {
            let why = format!("it has version {other}, and this program knows {VERSION}");
            return Err(Error::new(ErrorKind::Host, "open the store", why)
                .on(path.display())
                .hint("start the program that wrote it, or move the file away"));
        }
    }
    Ok(connection)
}

/// A failure of the file.
pub fn failed(what: &str, path: &Path, why: impl Display) -> Error {
    Error::new(ErrorKind::Host, what, why)
        .on(path.display())
        .hint("look whether its disk is full or read-only")
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let all = connection.transaction()?;
    all.execute_batch(TABLES)?;
    all.pragma_update(None, "user_version", VERSION)?;
    all.commit()
}

/// Writes a sandbox down; the number that it has already stays.
pub fn put(connection: &mut Connection, row: &Row) -> rusqlite::Result<()> {
    let sandbox = &row.sandbox;
    let mut put = connection.prepare_cached(
        "INSERT INTO sandboxes
            (id, owner, name, state, cause, detail, labels, deadline_ns, boot_id, request, sandbox)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (id) DO UPDATE SET
            name = ?3, state = ?4, cause = ?5, detail = ?6, labels = ?7, deadline_ns = ?8, boot_id = ?9,
            request = ?10, sandbox = ?11",
    )?;
    let deadline = row.deadline.as_ref();
    put.execute(params![
        sandbox.id,
        sandbox.owner,
        sandbox.name,
        sandbox.state.as_str(),
        sandbox.cause.map(agentkernel_api::CauseOfDeath::as_str),
        sandbox.detail,
        json(&sandbox.labels)?,
        deadline.map(|deadline| i64::try_from(deadline.monotonic_ns).unwrap_or(i64::MAX)),
        deadline.map(|deadline| &deadline.boot_id),
        json(&row.request)?,
        json(sandbox)?,
    ])?;
    Ok(())
}

pub fn remove(connection: &mut Connection, id: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM sandboxes WHERE id = ?1", [id]).map(drop)
}

/// Everything that had not ended.
pub fn living(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut rows = connection.prepare(
        "SELECT sandbox, request, deadline_ns, boot_id FROM sandboxes WHERE state != 'ended' ORDER BY number",
    )?;
    rows.query_map([], row)?.collect()
}

pub fn find(connection: &mut Connection, owner: &str, word: &str) -> rusqlite::Result<Option<Row>> {
    let mut found = connection.prepare_cached(
        "SELECT sandbox, request, deadline_ns, boot_id FROM sandboxes
         WHERE owner = ?1 AND (id = ?2 OR name = ?2) ORDER BY id = ?2 DESC, number DESC LIMIT 1",
    )?;
    found.query_row([owner, word], row).optional()
}

pub fn ended(connection: &mut Connection, owner: &str) -> rusqlite::Result<Vec<Sandbox>> {
    let mut found = connection
        .prepare_cached("SELECT sandbox FROM sandboxes WHERE owner = ?1 AND state = ?2 ORDER BY number")?;
    found.query_map([owner, State::Ended.as_str()], |row| parsed(&row.get::<_, String>(0)?))?.collect()
}

/// Forgets all but the last of those that have ended.
pub fn prune(connection: &mut Connection, history_max: usize) -> rusqlite::Result<()> {
    connection
        .execute(
            "DELETE FROM sandboxes WHERE state = 'ended' AND number <= (
                SELECT number FROM sandboxes WHERE state = 'ended' ORDER BY number DESC LIMIT 1 OFFSET ?1)",
            [i64::try_from(history_max).unwrap_or(i64::MAX)],
        )
        .map(drop)
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let (monotonic_ns, boot_id): (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
    let deadline = monotonic_ns
        .zip(boot_id)
        .map(|(monotonic_ns, boot_id)| StoredDeadline { monotonic_ns: monotonic_ns.unsigned_abs(), boot_id });
    Ok(Row {
        sandbox: parsed(&row.get::<_, String>(0)?)?,
        request: parsed(&row.get::<_, String>(1)?)?,
        deadline,
    })
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))
}

fn parsed<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|why| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(why)))
}
