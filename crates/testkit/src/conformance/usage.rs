//! What a command and its sandbox have used.

use std::time::Duration;

use super::context::{Context, stop};
use super::rule::{Kept, ensure};
use super::talk::{run, sh};

pub async fn usage(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let busy = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; (i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done)";
    let begin = std::time::Instant::now();
    let usage = run(&*sandbox, &sh(busy)).await?.exited.usage;
    let elapsed = begin.elapsed();
    let processor = usage.user + usage.system;
    ensure!(processor >= Duration::from_millis(10), "a long loop used {processor:?} of a processor");
    ensure!(usage.max_rss_kib > 0, "no memory was used");
    // The clocks of processor time and of wall time tick apart by some milliseconds.
    let within = usage.wall <= elapsed && processor <= usage.wall + Duration::from_millis(50);
    ensure!(within, "{processor:?} of a processor in {:?}, seen from here {elapsed:?}", usage.wall);
    // Whoever counts a sandbox's memory counts its processor time.
    let whole = sandbox.usage().await?;
    if whole.memory_bytes.is_some() {
        let counted = whole.cpu.is_some_and(|cpu| cpu >= Duration::from_millis(10));
        ensure!(counted, "the whole sandbox used {:?} of a processor, a loop in it {processor:?}", whole.cpu);
    }
    stop(sandbox).await.map(drop)
}
