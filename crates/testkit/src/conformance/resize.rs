//! Rules of sandboxes whose limits change while they live.

use agentkernel_core::{Resize, Sandbox};

use super::context::{Context, stop};
use super::limits::{HOG, half, only_half_a_processor, succeeds, with_memory};
use super::rule::{Kept, Needs, Rule, ensure, rule};

pub const RULES: &[Rule] = &[
    rule!(
        "resize.memory",
        Needs::ResizeMemory,
        memory,
        "Once a live sandbox has other memory, its commands have that much and no more, and its posture holds."
    ),
    rule!(
        "resize.cpus",
        Needs::ResizeCpus,
        cpus,
        "Once a live sandbox has other processors, busy loops get no more than these, and its posture holds."
    ),
];

async fn memory(context: &Context<'_>) -> Kept {
    // One sandbox for each direction: what runs out of memory may take its sandbox along.
    for (from_mib, to_mib, fits) in [(512, 64, false), (64, 512, true)] {
        let sandbox = context.boot_limited(with_memory(context, from_mib)).await?;
        resize(context, &*sandbox, Resize::from(&with_memory(context, to_mib))).await?;
        let held = succeeds(&*sandbox, HOG).await?;
        ensure!(held || !fits, "200 MiB were not to be had after {from_mib} MiB had become {to_mib} MiB");
        ensure!(!held || fits, "200 MiB were held after {from_mib} MiB had become {to_mib} MiB");
        stop(sandbox).await?;
    }
    Ok(())
}

async fn cpus(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let to = Resize { cpus: half(), ..Resize::from(&context.options.limits) };
    resize(context, &*sandbox, to).await?;
    only_half_a_processor(&*sandbox).await?;
    stop(sandbox).await.map(drop)
}

async fn resize(context: &Context<'_>, sandbox: &dyn Sandbox, to: Resize) -> Kept {
    sandbox.resize(&to).await?;
    if context.options.rules.boundary {
        let broken: Vec<_> = sandbox.posture().await?.broken().cloned().collect();
        ensure!(broken.is_empty(), "after a resize these controls do not hold: {broken:?}");
    }
    Ok(())
}
