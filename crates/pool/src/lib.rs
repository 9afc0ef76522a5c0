//! A warm pool: sandboxes that are booted before anybody asks, consumed once, and never reused. It knows
//! no backend.
//!
//! ```text
//! acquire ──▶ key ──▶ shelf ──pop──▶ Slot<Warm> ──verdict of its watch──▶ Slot<Leased> ──▶ Slot<Dead>
//!                      ▲  │ empty                                             ▲
//!      refiller ──boot─┘  └───────▶ queue ──▶ boot ───────────────────────────┘
//!      watch: death, ping, age ──▶ off the shelf, stop, refill
//! ```
//!
//! [`Pool`] is one backend's. A [`PoolKey`] is what of a spec is fixed at boot; each key has a shelf of
//! warm sandboxes, whose target follows the demand between a low and a high. A request pops one without
//! waiting for a task; where there is none it boots one itself and says so. One background task, the
//! refiller, boots what is missing behind the requests.
//!
//! Architecture invariants:
//! - [`Slot`] has one way to become warm, which is to boot. Nothing makes a used sandbox warm again.
//! - Only the refiller adds to shelves, so that the limits over all keys are decided in one place, by
//!   [`plan`], a pure function. Everybody else only takes.
//! - Who takes a slot from its shelf has it, whole, and decides what becomes of it; its watch, which
//!   found something wrong with it, takes it like everybody else. Loom checks this for [`rack`].
//! - Who takes a slot knows of everything that its watch was told before, whether or not the watch's task
//!   has run since. Loom checks this for [`stir`].
//! - Locks are held for nanoseconds, never across an await, and no sandbox is dropped under one. They are
//!   taken in the order shelves, shelf; that of a watch is taken alone.
//! - Clocks are tokio's monotonic ones: when the wall clock jumps, nothing happens.
//! - Deliberately absent: any reset of a used sandbox, any wait of a request for a refill, any retry of a
//!   cold boot, any backend's name.

#![forbid(unsafe_code)]

mod acquire;
mod circuit;
mod demand;
mod gate;
mod key;
mod lease;
mod meter;
mod plan;
mod pool;
mod rack;
mod random;
mod refill;
mod settings;
mod shelf;
mod shelves;
mod slot;
mod stats;
mod stir;
mod stop;
mod sync;
mod watch;

pub use circuit::CircuitState;
pub use key::{KeyRules, NotPoolable, PoolKey};
pub use lease::{Cold, Lease, Origin};
pub use pool::Pool;
pub use settings::PoolSettings;
pub use slot::{Dead, Leased, Slot, Warm};
pub use stats::{Counts, Discarded, KeyStats, PoolStats};
