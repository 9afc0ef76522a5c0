//! The life of a machine: what may follow what.

use std::fmt;

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its files are there.
    Configured,
    /// The VMM runs, and the agent has not answered yet.
    Booting,
    /// Commands run.
    Ready,
    /// Time stands still inside.
    Paused,
    /// It is gone.
    Stopped,
}

impl State {
    /// Whether a machine may go from here to there.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use State::{Booting, Configured, Paused, Ready, Stopped};
        matches!(
            (self, next),
            (Configured, Booting) | (Booting, Ready) | (Ready, Paused) | (Paused, Ready) | (_, Stopped)
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Configured => "configured",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Booting, Configured, Paused, Ready, Stopped};

    #[test]
    fn a_machine_goes_one_way_but_for_its_pauses() {
        for (from, to) in [(Configured, Booting), (Booting, Ready), (Ready, Paused), (Paused, Ready)] {
            assert!(from.may_become(to), "{from} to {to}");
        }
        for state in [Configured, Booting, Ready, Paused, Stopped] {
            assert!(state.may_become(Stopped) && !state.may_become(Configured), "{state}");
            assert!(!Stopped.may_become(state) || state == Stopped, "{state}");
        }
        assert!(!Configured.may_become(Ready) && !Booting.may_become(Paused));
    }
}
