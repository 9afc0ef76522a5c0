//! All interleavings of those who share a rack, as far as they differ, tried by loom.
//!
//! A sandbox is a number and whether it is over. Whoever gets it notes how it ends, and each must have
//! ended exactly once. The actors are those of the pool: a refiller that fills places, tenants, a watch
//! whose sandbox dies, and one who closes.

use loom::sync::Arc;
use loom::thread;

use super::{Place, Rack};
use crate::sync::{Mutex, lock};

#[derive(Debug, Clone)]
struct Sandbox {
    number: usize,
    is_over: Arc<Mutex<bool>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Leased,
    Died,
    Closed,
}

#[derive(Clone)]
struct Actors {
    rack: Arc<Mutex<Rack<Sandbox>>>,
    /// Which sandboxes ended how.
    log: Arc<Mutex<Vec<(usize, End)>>>,
}

impl Actors {
    fn new() -> Self {
        Self { rack: Arc::new(Mutex::new(Rack::new())), log: Arc::new(Mutex::new(Vec::new())) }
    }

    /// The refiller promises a place and begins to boot.
    fn order(&self, number: usize) -> (Option<Place>, Sandbox) {
        (lock(&self.rack).reserve(1), Sandbox { number, is_over: Arc::new(Mutex::new(false)) })
    }

    /// Its boot is done.
    fn fill(&self, place: Option<Place>, sandbox: &Sandbox) {
        let Some(place) = place else { return self.note(sandbox, End::Closed) };
        let id = place.id();
        let back = lock(&self.rack).fill(place, sandbox.clone()).err();
        match back {
            Some(sandbox) => self.note(&sandbox, End::Closed),
            None if *lock(&sandbox.is_over) => self.over(id),
            None => {}
        }
    }

    fn order_and_fill(&self, number: usize) {
        let (place, sandbox) = self.order(number);
        self.fill(place, &sandbox);
    }

    /// What a tenant does; tells whether he got one.
    fn acquire(&self) -> bool {
        loop {
            let Some(sandbox) = lock(&self.rack).pop() else { return false };
            if !*lock(&sandbox.is_over) {
                self.note(&sandbox, End::Leased);
                return true;
            }
            self.note(&sandbox, End::Died);
        }
    }

    /// What a watch does when its sandbox dies.
    fn die(&self, id: u64, sandbox: &Sandbox) {
        *lock(&sandbox.is_over) = true;
        self.over(id);
    }

    fn over(&self, id: u64) {
        let removed = lock(&self.rack).remove(id);
        removed.iter().for_each(|sandbox| self.note(sandbox, End::Died));
    }

    /// What shutdown does.
    fn close(&self) {
        let rest = lock(&self.rack).close();
        rest.iter().for_each(|sandbox| self.note(sandbox, End::Closed));
    }

    fn note(&self, sandbox: &Sandbox, end: End) {
        lock(&self.log).push((sandbox.number, end));
    }

    /// That every sandbox has ended exactly once and nothing lies on the rack; and how they ended.
    fn ends(&self, count: usize) -> Vec<End> {
        let mut log = lock(&self.log).clone();
        log.sort_unstable();
        let numbers: Vec<usize> = log.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{log:?}");
        let rack = lock(&self.rack);
        assert_eq!((rack.ready(), rack.awaited(), rack.bytes()), (0, 0, 0));
        log.into_iter().map(|(_, end)| end).collect()
    }
}

#[test]
fn loom_two_tenants_never_get_the_same_sandbox() {
    loom::model(|| {
        let actors = Actors::new();
        actors.order_and_fill(0);
        actors.order_and_fill(1);
        let others = [actors.clone(), actors.clone()].map(|one| thread::spawn(move || one.acquire()));
        let third = actors.acquire();
        let leases = others.map(|tenant| tenant.join().expect("no panic"));
        assert_eq!(leases.into_iter().chain([third]).filter(|leased| *leased).count(), 2);
        assert_eq!(actors.ends(2), [End::Leased, End::Leased]);
    });
}

#[test]
fn loom_what_comes_while_it_is_closed_is_neither_lost_nor_leased_afterwards() {
    loom::model(|| {
        let actors = Actors::new();
        actors.order_and_fill(0);
        let (place, sandbox) = actors.order(1);
        let one = actors.clone();
        let refiller = thread::spawn(move || one.fill(place, &sandbox));
        let one = actors.clone();
        let tenant = thread::spawn(move || one.acquire());
        actors.close();
        // A tenant who comes after the end gets nothing, whatever the others are doing.
        assert!(!actors.acquire());
        refiller.join().expect("no panic");
        let leased = tenant.join().expect("no panic");
        assert_eq!(actors.ends(2).contains(&End::Leased), leased);
    });
}

#[test]
fn loom_a_sandbox_that_dies_while_it_is_taken_has_one_end() {
    loom::model(|| {
        let actors = Actors::new();
        let (place, sandbox) = actors.order(0);
        actors.fill(place, &sandbox);
        let one = actors.clone();
        let watch = thread::spawn(move || one.die(0, &sandbox));
        let one = actors.clone();
        let tenant = thread::spawn(move || one.acquire());
        actors.close();
        watch.join().expect("no panic");
        tenant.join().expect("no panic");
        assert_eq!(actors.ends(1).len(), 1);
    });
}

#[test]
fn loom_a_sandbox_that_has_died_before_it_is_asked_for_is_not_leased() {
    loom::model(|| {
        let actors = Actors::new();
        let (place, sandbox) = actors.order(0);
        let one = actors.clone();
        let refiller = thread::spawn({
            let sandbox = sandbox.clone();
            move || one.fill(place, &sandbox)
        });
        actors.die(0, &sandbox);
        assert!(!actors.acquire());
        refiller.join().expect("no panic");
        assert_eq!(actors.ends(1), [End::Died], "nor does it stay on the rack");
    });
}
