//! What belongs to one instance: its view of the outside, and how much it may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use agentkernel_instance::TABLE_ELEMENTS_MAX;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::preview1::WasiP1Ctx;

/// The data of a store.
pub(crate) struct Guest {
    /// Made when it is first used, if nothing was prepared: most functions that are called compute and ask for nothing.
    wasi: Option<WasiP1Ctx>,
    pub(crate) meter: Meter,
}

impl Guest {
    pub(crate) fn new(wasi: Option<WasiP1Ctx>, meter: Meter) -> Self {
        Self { wasi, meter }
    }

    /// Its view of the outside. What was not prepared is empty: no words, no variables, streams that lead nowhere.
    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.wasi.get_or_insert_with(|| WasiCtxBuilder::new().build_p1())
    }
}

/// The memory of a sandbox: that of all its instances together.
#[derive(Debug)]
pub(crate) struct Purse {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
    /// Commands that ended because there was no more.
    kills: AtomicU64,
}

impl Purse {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        let (used_bytes, peak_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { limit_bytes, used_bytes, peak_bytes, kills: AtomicU64::new(0) })
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Takes so much out of it, or nothing.
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|whole| *whole <= self.limit_bytes);
        let Ok(before) = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else {
            return false;
        };
        self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        true
    }
}

/// How much memory an instance has. What it had goes back when it is gone.
#[derive(Debug)]
pub(crate) struct Meter {
    purse: Arc<Purse>,
    /// Its own part; a Wasm memory never shrinks.
    pub(crate) bytes: usize,
    /// It wanted more than there was.
    was_denied: bool,
}

impl Meter {
    pub(crate) fn new(purse: &Arc<Purse>) -> Self {
        Self { purse: Arc::clone(purse), bytes: 0, was_denied: false }
    }

    /// Counts an instance that ended badly, if it had wanted more memory before, and tells whether it had.
    pub(crate) fn blame(&self) -> bool {
        if self.was_denied {
            self.purse.kills.fetch_add(1, Ordering::Relaxed);
        }
        self.was_denied
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.purse.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if self.purse.take(more) {
            self.bytes += more;
            return Ok(true);
        }
        self.was_denied = true;
        Ok(false)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_up_to_the_limit_to_all_instances_together_and_comes_back() {
        let purse = Purse::new(100);
        let mut one = Meter::new(&purse);
        assert!(one.memory_growing(0, 60, None).expect("an answer"));
        let mut other = Meter::new(&purse);
        assert!(!other.memory_growing(0, 41, None).expect("an answer"));
        assert!(other.memory_growing(0, 40, None).expect("an answer"));
        assert!((one.blame(), other.blame(), purse.kills()) == (false, true, 1));
        drop(one);
        assert_eq!((purse.used_bytes(), purse.peak_bytes()), (40, 100));
        assert!(other.memory_growing(40, 100, None).expect("an answer"));
        assert!(!other.memory_growing(100, usize::MAX, None).expect("an answer"));
        assert!(!other.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).expect("an answer"));
    }
}
