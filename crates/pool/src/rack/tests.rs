//! A rack does what a list would do, whatever is done to it.

use proptest::prelude::*;

use super::*;

/// Something that is done to a rack. Numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Reserve(u64),
    Fill(usize),
    Free(usize),
    Pop,
    Remove(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..1000_u64).prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Fill),
        1 => any::<usize>().prop_map(Step::Free),
        3 => Just(Step::Pop),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Close),
    ]
}

/// A rack, and what must be true of it.
struct Model {
    rack: Rack<u64>,
    places: Vec<Place>,
    /// Number and bytes of what lies ready; the thing is the number itself.
    ready: VecDeque<(u64, u64)>,
    closed: bool,
    /// Everything that was ever given out.
    given: Vec<u64>,
}

impl Model {
    fn new() -> Self {
        let (places, ready, given) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { rack: Rack::new(), places, ready, closed: false, given }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Reserve(bytes) => {
                let place = self.rack.reserve(bytes);
                assert_eq!(place.is_none(), self.closed, "places are promised until it is closed");
                self.places.extend(place);
            }
            Step::Fill(choice) => self.fill(choice),
            Step::Free(choice) => {
                if let Some(place) = chosen(&mut self.places, choice) {
                    self.rack.free(place);
                }
            }
            Step::Pop => {
                let expected = self.ready.pop_front().map(|(id, _)| id);
                self.gave(expected, Rack::pop);
            }
            Step::Remove(choice) => self.remove(choice),
            Step::Close => {
                let expected: Vec<u64> = self.ready.drain(..).map(|(id, _)| id).collect();
                assert_eq!(self.rack.close(), expected);
                self.given.extend(expected);
                self.closed = true;
            }
        }
    }

    fn fill(&mut self, choice: usize) {
        let Some(place) = chosen(&mut self.places, choice) else { return };
        let (id, bytes) = (place.id, place.bytes);
        let back = self.rack.fill(place, id).err();
        assert_eq!(back, self.closed.then_some(id), "it comes back if and only if it is closed");
        match back {
            Some(id) => self.given.push(id),
            None => self.ready.push_back((id, bytes)),
        }
    }

    fn remove(&mut self, choice: usize) {
        // One that is there, or one that is not.
        let at = choice % (self.ready.len() + 1);
        let expected = self.ready.remove(at).map(|(id, _)| id);
        let id = expected.unwrap_or(u64::MAX);
        self.gave(expected, |rack| rack.remove(id));
        assert_eq!(self.rack.remove(id), None, "not twice");
    }

    fn gave(&mut self, expected: Option<u64>, give: impl FnOnce(&mut Rack<u64>) -> Option<u64>) {
        assert_eq!(give(&mut self.rack), expected);
        self.given.extend(expected);
    }

    fn check(&self) {
        assert_eq!((self.rack.ready(), self.rack.awaited()), (self.ready.len(), self.places.len()));
        let bytes = self.ready.iter().map(|(_, bytes)| bytes).sum::<u64>()
            + self.places.iter().map(|place| place.bytes).sum::<u64>();
        assert_eq!(self.rack.bytes(), bytes);
        let mut given = self.given.clone();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), self.given.len(), "given out twice: {:?}", self.given);
    }
}

fn chosen(places: &mut Vec<Place>, choice: usize) -> Option<Place> {
    let at = choice.checked_rem(places.len())?;
    Some(places.swap_remove(at))
}

proptest! {
    #[test]
    fn nothing_is_lost_given_twice_or_given_after_the_end(steps in prop::collection::vec(step(), 0..200)) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
            model.check();
        }
    }
}
