//! Which backend serves a request: decided from the request and the probed facts alone.

use std::fmt;
use std::str::FromStr;

use agentkernel_core::{Availability, BackendKind, Error, ErrorKind, Result};

/// What the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendRequest {
    /// The strongest boundary that is available.
    #[default]
    Auto,
    /// This one or none.
    Named(BackendKind),
}

impl FromStr for BackendRequest {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "auto" { Ok(Self::Auto) } else { word.parse().map(Self::Named) }
    }
}

impl fmt::Display for BackendRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Named(kind) => kind.fmt(out),
        }
    }
}

/// The backend taken for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// It.
    pub backend: BackendKind,
    /// Why this one, for a person.
    pub reason: String,
}

/// The choice, where no probe could change it: a backend that was named, or the only one there is.
#[must_use]
pub fn without_probing(request: BackendRequest, candidates: &[BackendKind]) -> Option<Choice> {
    match (request, candidates) {
        (BackendRequest::Named(kind), _) => Some(Choice { backend: kind, reason: "named".into() }),
        (BackendRequest::Auto, [only]) => {
            Some(Choice { backend: *only, reason: "auto: the only backend of this build for it".into() })
        }
        _ => None,
    }
}

/// Chooses among backends that were probed, strongest boundary first. A backend that is named is never
/// replaced by another.
pub fn choose(request: BackendRequest, probed: &[(BackendKind, Availability)]) -> Result<Choice> {
    match request {
        BackendRequest::Named(kind) => named(kind, probed),
        BackendRequest::Auto => strongest(probed),
    }
}

fn named(kind: BackendKind, probed: &[(BackendKind, Availability)]) -> Result<Choice> {
    match probed.iter().find(|(other, _)| *other == kind) {
        Some((_, Availability::Available { .. } | Availability::Limited { .. })) => {
            Ok(Choice { backend: kind, reason: "named".into() })
        }
        Some((_, Availability::Unavailable { needs, hint })) => {
            Err(unavailable(format!("it needs {needs}")).on(kind).hint(hint))
        }
        None => Err(unavailable("this build does not have it").on(kind)),
    }
}

fn strongest(probed: &[(BackendKind, Availability)]) -> Result<Choice> {
    let mut passed_over = Vec::new();
    for (kind, availability) in probed {
        match availability {
            Availability::Available { .. } => {
                return Ok(Choice { backend: *kind, reason: reason(&passed_over) });
            }
            Availability::Unavailable { needs, .. } => passed_over.push(format!("{kind} needs {needs}")),
            Availability::Limited { limitation, .. } => passed_over.push(format!("{kind}: {limitation}")),
        }
    }
    let error = unavailable(if passed_over.is_empty() {
        "this build has no backend".to_owned()
    } else {
        passed_over.join("; ")
    });
    // What needs no other program is the shortest way out.
    let nearest = probed.iter().find(|(kind, _)| *kind == BackendKind::Oci).or(probed.first());
    Err(match nearest {
        Some((_, Availability::Unavailable { hint, .. })) => error.on("auto").hint(hint),
        _ => error.on("auto"),
    })
}

fn reason(passed_over: &[String]) -> String {
    if passed_over.is_empty() {
        "auto: the strongest boundary of this build".into()
    } else {
        format!("auto: the strongest boundary that is available ({})", passed_over.join("; "))
    }
}

fn unavailable(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, "choose a backend", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRONG: BackendKind = BackendKind::Oci;
    const WEAK: BackendKind = BackendKind::Fake;

    fn available() -> Availability {
        Availability::Available { facts: Vec::new() }
    }

    fn unavailable() -> Availability {
        Availability::Unavailable { needs: "a moon".into(), hint: "install-moon".into() }
    }

    #[test]
    fn auto_takes_the_strongest_that_is_available_and_says_what_it_passed_over() {
        let both = choose(BackendRequest::Auto, &[(STRONG, available()), (WEAK, available())]);
        assert_eq!(both.expect("chosen").backend, STRONG);
        let weak = choose(BackendRequest::Auto, &[(STRONG, unavailable()), (WEAK, available())]);
        let weak = weak.expect("chosen");
        assert_eq!(weak.backend, WEAK);
        assert!(weak.reason.contains("oci needs a moon"), "{}", weak.reason);
    }

    #[test]
    fn a_named_backend_never_falls_back() {
        let probed = [(STRONG, unavailable()), (WEAK, available())];
        let error = choose(BackendRequest::Named(STRONG), &probed).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.to_string(), "choose a backend: oci: it needs a moon");
        assert_eq!(error.hint.as_deref(), Some("install-moon"));
        assert_eq!(choose(BackendRequest::Named(WEAK), &probed).expect("chosen").reason, "named");
        assert!(choose(BackendRequest::Named(WEAK), &[(STRONG, available())]).is_err());
    }

    #[test]
    fn nothing_available_says_what_each_needs_and_the_first_way_out() {
        let error = choose(BackendRequest::Auto, &[(STRONG, unavailable())]).expect_err("refused");
        assert_eq!(error.to_string(), "choose a backend: auto: oci needs a moon");
        assert_eq!(error.hint.as_deref(), Some("install-moon"));
        assert!(choose(BackendRequest::Auto, &[]).is_err());
    }

    #[test]
    fn nothing_is_probed_where_nothing_can_be_chosen() {
        assert!(without_probing(BackendRequest::Auto, &[STRONG]).is_some());
        assert!(without_probing(BackendRequest::Auto, &[STRONG, WEAK]).is_none());
        let named = without_probing(BackendRequest::Named(WEAK), &[STRONG, WEAK]);
        assert_eq!(named.expect("named").backend, WEAK);
    }

    #[test]
    fn an_unknown_word_is_told_the_nearest_valid_one() {
        let error = "ocl".parse::<BackendRequest>().expect_err("unknown");
        assert!(error.contains("did you mean 'oci'"), "{error}");
        assert_eq!("auto".parse(), Ok(BackendRequest::Auto));
        assert!("fake".parse::<BackendRequest>().is_err(), "the fake cannot be named by a user");
    }
}
