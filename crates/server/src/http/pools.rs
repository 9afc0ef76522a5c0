//! `/v1/pools`: warm sandboxes, which concern the whole host.

use std::sync::Arc;

use agentkernel_api::{
    DrainReply, DrainRequest, Pool, PoolCounts, PoolKey, PoolRequest, PoolStats, SandboxRequest,
};
use agentkernel_core::SandboxName;
use agentkernel_pool::{Counts, KeyStats};
use axum::extract::State;

use super::body::Json;
use super::caller::Caller;
use super::refusals;
use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// Tell what the pools have, and what they have done
#[utoipa::path(get, operation_id = "pools_list", path = "/v1/pools", tag = "host",
    responses((status = 200, body = PoolStats), refusals::Always))]
pub async fn list(State(daemon): State<Arc<Daemon>>, caller: Caller) -> Outcome<axum::Json<PoolStats>> {
    caller.check_operator()?;
    Ok(axum::Json(all(&daemon)))
}

fn all(daemon: &Daemon) -> PoolStats {
    let pools = daemon.pools.iter().map(|(kind, pool)| {
        let stats = pool.stats();
        Pool {
            backend: kind.to_string(),
            warm: stats.warm as u64,
            booting: stats.booting as u64,
            warm_max: stats.warm_max as u64,
            memory_promised_bytes: stats.memory_promised_bytes,
            memory_max_bytes: stats.memory_max_bytes,
            short_of_memory: stats.short_of_memory,
            total: counts(stats.total),
            keys: stats.keys.into_iter().map(key).collect(),
        }
    });
    PoolStats { pools: pools.collect() }
}

fn key(stats: KeyStats) -> PoolKey {
    PoolKey {
        key: stats.key,
        warm: stats.warm as u64,
        booting: stats.booting as u64,
        target: stats.target as u64,
        low: stats.target_low as u64,
        high: stats.target_high as u64,
        failures_in_a_row: stats.failures_in_a_row,
        retry_in_ms: stats.retry_in_ms,
        counts: counts(stats.counts),
    }
}

fn counts(counts: Counts) -> PoolCounts {
    PoolCounts {
        hits: counts.hits,
        misses: counts.misses,
        discarded: counts.discarded.sum(),
        boot_failures: counts.boot_failures,
        stop_failures: counts.stop_failures,
        last_error: counts.last_error,
        acquire_p50_ns: counts.acquire_p50_ns,
        acquire_p99_ns: counts.acquire_p99_ns,
        boot_p50_ns: counts.boot_p50_ns,
        boot_p99_ns: counts.boot_p99_ns,
    }
}

/// Say how many sandboxes of a kind are to be warm
#[utoipa::path(put, operation_id = "pools_set", path = "/v1/pools", tag = "host", request_body = PoolRequest,
    responses((status = 200, body = PoolStats), refusals::Always, refusals::Body, refusals::Made))]
pub async fn set(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<PoolRequest>,
) -> Outcome<axum::Json<PoolStats>> {
    caller.check_operator()?;
    set_target(&daemon, &request, &caller.owner).await?;
    Ok(axum::Json(all(&daemon)))
}

/// The same, whoever asks for it.
pub async fn set_target(daemon: &Daemon, request: &PoolRequest, owner: &str) -> Outcome<()> {
    let (pool, key) = find(daemon, &request.sandbox, owner).await?;
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let room = pool.room(&key);
    if size(request.low) > room {
        return Err(no_room(request.low, room, &pool.stats()));
    }
    Ok(pool.set_target(&key, size(request.low)..=size(request.high))?)
}

/// A promise that the limits of the pool would break in silence.
fn no_room(low: u32, room: usize, stats: &agentkernel_pool::PoolStats) -> Failure {
    let (most, memory) = (stats.warm_max, stats.memory_max_bytes >> 20);
    let why = format!(
        "{low} of these cannot be warm: at most {room} can, for the pool has room for {most} sandboxes and {memory} MiB of \
         their memory; a daemon that is started with --pool {low}..{low} makes room for so many"
    );
    Failure::usage("low", why)
}

/// The pool of a kind of sandboxes.
async fn find(
    daemon: &Daemon,
    request: &SandboxRequest,
    owner: &str,
) -> Outcome<(Arc<agentkernel_pool::Pool>, agentkernel_pool::PoolKey)> {
    if request.unix_socket.is_some() {
        let why = "a pool has none: whoever takes a sandbox gets his served";
        return Err(Failure::usage("sandbox.unix_socket", why));
    }
    let (backend, spec) = convert::spec(request, SandboxName::from_random(0), owner)?;
    let choice = daemon.registry.choose(backend, &spec).await?;
    let (_, pool) = daemon.backend(choice.backend)?;
    let key = pool.poolable(&spec).map_err(|why| Failure::usage("sandbox", why))?;
    Ok((pool, key))
}

/// Stop warm sandboxes, and reply when nothing of them is left
#[utoipa::path(post, operation_id = "pools_drain", path = "/v1/pools/drain", tag = "host", request_body = DrainRequest,
    responses((status = 200, body = DrainReply), refusals::Always, refusals::Body, refusals::Made))]
pub async fn drain(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<DrainRequest>,
) -> Outcome<axum::Json<DrainReply>> {
    caller.check_operator()?;
    let mut stopped = 0;
    match &request.sandbox {
        Some(sandbox) => {
            let (pool, key) = find(&daemon, sandbox, &caller.owner).await?;
            stopped += pool.drain(&key).await? as u64;
        }
        None => {
            for (_, pool) in &daemon.pools {
                stopped += pool.drain_all().await? as u64;
            }
        }
    }
    Ok(axum::Json(DrainReply { stopped }))
}
