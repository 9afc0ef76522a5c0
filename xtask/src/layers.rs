//! Which crate may depend on which: arrows between members of the workspace point down only.

use crate::violation::Violation;
use crate::workspace::{Crate, Dependency, Kind};

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the house: it may use every crate of a lower layer.
    Layer(u8),
    /// Beside the house: it may use these crates and no other.
    Beside(&'static [&'static str]),
}

/// Every crate of the workspace. The top layer holds programs, the bottom one vocabulary.
const PLACES: &[(&str, Place)] = &[
    ("agentkernel", Place::Layer(6)),
    ("agentkernel-bench", Place::Layer(5)),
    ("agentkernel-server", Place::Layer(5)),
    ("agentkernel-runtime", Place::Layer(4)),
    ("agentkernel-client", Place::Layer(4)),
    ("agentkernel-oci", Place::Layer(3)),
    ("agentkernel-container", Place::Layer(3)),
    ("agentkernel-microvm", Place::Layer(3)),
    ("agentkernel-cgroup", Place::Layer(2)),
    ("agentkernel-http", Place::Layer(2)),
    ("agentkernel-hyperlight", Place::Layer(3)),
    ("agentkernel-wasm", Place::Layer(3)),
    ("agentkernel-eval", Place::Layer(3)),
    ("agentkernel-pool", Place::Layer(3)),
    ("agentkernel-image", Place::Layer(3)),
    ("agentkernel-hyperlight-vm", Place::Layer(4)),
    ("agentkernel-kvm", Place::Layer(2)),
    ("agentkernel-link", Place::Layer(2)),
    ("agentkernel-process", Place::Layer(2)),
    ("agentkernel-hardening", Place::Layer(2)),
    ("agentkernel-core", Place::Layer(1)),
    ("agentkernel-api", Place::Layer(1)),
    ("agentkernel-protocol", Place::Layer(1)),
    ("agentkernel-instance", Place::Layer(1)),
    ("agentkernel-hypercalls", Place::Layer(1)),
    ("agentkernel-nested", Place::Layer(1)),
    ("agentkernel-guest", Place::Beside(&["agentkernel-hypercalls", "agentkernel-protocol"])),
    ("agentkernel-guest-wasm", Place::Beside(&["agentkernel-hypercalls", "agentkernel-instance"])),
    ("agentkernel-testkit", Place::Beside(&["agentkernel-core"])),
    ("agentkernel-attack-probe", Place::Beside(&[])),
    ("xtask", Place::Beside(&[])),
];

/// Crates that the tests of every crate may use, because they exist for tests or run inside sandboxes.
const LENT_TO_TESTS: &[&str] = &["agentkernel-testkit", "agentkernel-attack-probe", "agentkernel-guest"];

/// Every arrow that does not point down, and every crate without a place.
pub fn violations(crates: &[Crate]) -> Vec<Violation> {
    crates.iter().flat_map(of_crate).collect()
}

fn of_crate(one: &Crate) -> Vec<Violation> {
    let Some(place) = place_of(&one.name) else {
        return vec![unknown(&one.name)];
    };
    one.dependencies.iter().filter_map(|to| of_arrow(&one.name, place, to)).collect()
}

fn of_arrow(from: &str, place: Place, to: &Dependency) -> Option<Violation> {
    if to.kind == Kind::Dev && LENT_TO_TESTS.contains(&to.name.as_str()) {
        return None;
    }
    // A target that is itself unknown is told once, at its own name.
    let target = place_of(&to.name)?;
    let allowed = match (place, target) {
        (Place::Layer(from), Place::Layer(to)) => to < from,
        (Place::Layer(_), Place::Beside(_)) => false,
        (Place::Beside(uses), _) => uses.contains(&to.name.as_str()),
    };
    (!allowed).then(|| refused(from, place, to, target))
}

fn place_of(name: &str) -> Option<Place> {
    PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
}

fn unknown(name: &str) -> Violation {
    Violation {
        place: name.to_owned(),
        rule: "every crate has a layer".into(),
        way_out: format!("add `{name}` to the table PLACES in xtask/src/layers.rs"),
    }
}

fn refused(from: &str, place: Place, to: &Dependency, target: Place) -> Violation {
    let kind = match to.kind {
        Kind::Normal => "depends on",
        Kind::Build => "builds with",
        Kind::Dev => "tests with",
    };
    Violation {
        place: format!("{from} ({}) {kind} {} ({})", describe(place), to.name, describe(target)),
        rule: match place {
            Place::Layer(_) => "a crate may use lower layers only".into(),
            Place::Beside(&[]) => format!("{from} uses no crate of the workspace"),
            Place::Beside(uses) => {
                format!("{from} uses {} and no other crate of the workspace", uses.join(", "))
            }
        },
        way_out: match to.kind {
            Kind::Dev => "move the test to the upper crate, or use agentkernel-testkit".into(),
            Kind::Normal | Kind::Build => {
                "move what both need to a lower crate, or hand it in from the crate above".into()
            }
        },
    }
}

fn describe(place: Place) -> String {
    match place {
        Place::Layer(layer) => format!("layer {layer}"),
        Place::Beside(_) => "beside the layers".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, kind: Kind) -> Vec<Violation> {
        violations(&[Crate {
            name: from.into(),
            manifest: "Cargo.toml".into(),
            dependencies: vec![Dependency { name: to.into(), kind }],
        }])
    }

    #[test]
    fn a_downward_arrow_is_allowed() {
        assert_eq!(arrow("agentkernel-runtime", "agentkernel-oci", Kind::Normal), []);
        assert_eq!(arrow("agentkernel", "agentkernel-core", Kind::Build), []);
        assert_eq!(arrow("agentkernel-oci", "agentkernel-process", Kind::Dev), []);
    }

    #[test]
    fn an_upward_arrow_is_refused_with_both_names() {
        for kind in [Kind::Normal, Kind::Build, Kind::Dev] {
            let found = arrow("agentkernel-core", "agentkernel-link", kind);
            assert_eq!(found.len(), 1, "{kind:?}");
            assert!(found[0].place.starts_with("agentkernel-core (layer 1)"), "{}", found[0]);
            assert!(found[0].place.ends_with("agentkernel-link (layer 2)"), "{}", found[0]);
        }
    }

    #[test]
    fn an_arrow_within_a_layer_is_refused() {
        assert_eq!(arrow("agentkernel-core", "agentkernel-protocol", Kind::Normal).len(), 1);
        assert_eq!(arrow("agentkernel-protocol", "agentkernel-core", Kind::Normal).len(), 1);
        assert_eq!(arrow("agentkernel-pool", "agentkernel-oci", Kind::Dev).len(), 1);
    }

    #[test]
    fn the_guest_uses_the_protocol_and_nothing_else() {
        assert_eq!(arrow("agentkernel-guest", "agentkernel-protocol", Kind::Normal), []);
        let found = arrow("agentkernel-guest", "agentkernel-core", Kind::Normal);
        assert_eq!(
            found[0].rule,
            "agentkernel-guest uses agentkernel-hypercalls, agentkernel-protocol and no other crate of the workspace"
        );
    }

    #[test]
    fn crates_beside_the_layers_are_lent_to_tests_only() {
        for lent in LENT_TO_TESTS {
            assert_eq!(arrow("agentkernel-core", lent, Kind::Dev), []);
            assert_eq!(arrow("agentkernel", lent, Kind::Normal).len(), 1);
        }
        assert_eq!(arrow("agentkernel", "xtask", Kind::Dev).len(), 1);
    }

    #[test]
    fn an_unknown_crate_is_told_to_take_a_place() {
        let found = arrow("agentkernel-extra", "agentkernel-core", Kind::Normal);
        assert_eq!(found, [unknown("agentkernel-extra")]);
        assert!(found[0].way_out.contains("xtask/src/layers.rs"));
    }
}
