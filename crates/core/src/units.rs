//! Sizes, processors and durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, at least 1. Written `512M`, `1.5G`, `65536`; K, M, G and T are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes; `None` for 0.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Option<Self> {
        if bytes == 0 { None } else { Some(Self(bytes)) }
    }

    /// So many MiB. Panics at compile time, where it is used, for 0.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        assert!(mib > 0, "a size is at least one byte");
        Self(mib << 20)
    }

    /// The bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a size; write a number and K, M, G or T, for example 512M");
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(1 << shift).ok_or_else(wrong)?,
            Err(_) => scaled(number, shift).ok_or_else(wrong)?,
        };
        Self::bytes(bytes).ok_or_else(|| format!("'{text}' is nothing; a size is at least one byte"))
    }
}

/// A decimal fraction times a power of two, without floating point: `1.5` and 30 → 1610612736.
fn scaled(number: &str, shift: u32) -> Option<u64> {
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * (1_u128 << shift) / u128::from(scale);
    whole.checked_mul(1 << shift)?.checked_add(u64::try_from(part).ok()?)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(out, "{}{unit}", self.0 >> shift);
            }
        }
        write!(out, "{}", self.0)
    }
}

/// A share of processors in thousandths, at least 10 (the kernel's smallest quota is 1 ms of 100 ms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuCount(u32);

impl CpuCount {
    /// So many thousandths of one processor; `None` below 10.
    #[must_use]
    pub const fn milli(milli: u32) -> Option<Self> {
        if milli < 10 { None } else { Some(Self(milli)) }
    }

    /// Whole processors.
    #[must_use]
    pub const fn whole(cpus: u16) -> Self {
        assert!(cpus > 0, "a share is more than nothing");
        Self(cpus as u32 * 1000)
    }

    /// The thousandths.
    #[must_use]
    pub const fn as_milli(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not a number of CPUs; write for example 0.5, 1 or 2.25 (at least 0.01)");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 3 || (whole.is_empty() && fraction.is_empty()) {
            return Err(wrong());
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let milli: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
        let total = whole.checked_mul(1000).and_then(|thousands| thousands.checked_add(milli));
        total.and_then(Self::milli).ok_or_else(wrong)
    }
}

impl fmt::Display for CpuCount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, milli) = (self.0 / 1000, self.0 % 1000);
        if milli == 0 {
            write!(out, "{whole}")
        } else {
            write!(out, "{}", format!("{whole}.{milli:03}").trim_end_matches('0'))
        }
    }
}

/// A duration as people write it: `500ms`, `30s`, `1.5m`, `2h`; a number alone is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write a number and ms, s, m or h, for example 30s");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let duration = Duration::try_from_secs_f64(seconds * factor).map_err(|_| wrong())?;
    if duration < Duration::from_millis(1) {
        return Err(format!("'{text}' is no time at all; the shortest is 1ms"));
    }
    // A century: more is a typing mistake, and would overflow clocks further down.
    if duration > Duration::from_secs(100 * 365 * 24 * 3600) {
        return Err(format!("'{text}' is more than a century"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!("512M".parse::<ByteSize>().map(ByteSize::get), Ok(512 << 20));
        assert_eq!("1.5G".parse::<ByteSize>().map(ByteSize::get), Ok(3 << 29));
        assert_eq!("64KiB".parse::<ByteSize>().map(ByteSize::get), Ok(64 << 10));
        assert_eq!("7".parse::<ByteSize>().map(ByteSize::get), Ok(7));
        for wrong in ["", "0", "M", "-1", "1X", "1.2.3G", "99999999999T", "1.G", "٣M"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpus_and_durations_are_read_as_people_write_them() {
        assert_eq!("1.5".parse::<CpuCount>().map(CpuCount::as_milli), Ok(1500));
        assert_eq!(".25".parse::<CpuCount>().map(CpuCount::as_milli), Ok(250));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0", "x", "1.2345", "-1", "0.001"] {
            assert!(wrong.parse::<CpuCount>().is_err(), "{wrong}");
        }
        for wrong in ["", "0", "0s", "-1s", "10 days", "1e99s", "nan", "inf"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in 1_u64.., milli in 10_u32..) {
            let size = ByteSize::bytes(bytes).expect("not zero");
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
            let cpus = CpuCount::milli(milli).expect("not below 10");
            prop_assert_eq!(cpus.to_string().parse::<CpuCount>(), Ok(cpus));
        }

        #[test]
        fn nothing_typed_makes_the_parsers_panic(text in ".{0,24}") {
            let _unused = (text.parse::<ByteSize>(), text.parse::<CpuCount>(), parse_duration(&text));
        }
    }
}
