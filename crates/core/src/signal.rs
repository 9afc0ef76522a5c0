//! Signals, where no kernel of Linux is there to deliver them.

use crate::{Error, ErrorKind, Result};

/// What a signal does to a program that has no handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    /// It ends it.
    End,
    /// Nothing.
    Nothing,
    /// It stops it, until it is told to continue.
    Stop,
}

impl SignalAction {
    /// That of signal `number`, as signal(7) says it; 0 only asks whether somebody is there.
    pub fn of(number: u8) -> Result<Self> {
        match number {
            0 | 17 | 18 | 23 | 28 => Ok(Self::Nothing), // CHLD, CONT, URG, WINCH
            19..=22 => Ok(Self::Stop),                  // STOP, TSTP, TTIN, TTOU
            1..=64 => Ok(Self::End),
            _ => Err(Error::new(ErrorKind::Usage, "send a signal", format!("{number} is no signal"))),
        }
    }
}
