//! Tables and numbers as text.

use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table without lines, as wide as the terminal allows.
pub fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heading.iter().map(|word| word.to_uppercase()));
    table.add_rows(rows);
    table
}

/// Aligns a column of numbers.
pub fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A table as text, its last line ended, no line with the padding of its first and last column.
pub fn lines(table: &Table) -> String {
    let unpadded = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
    table.lines().map(|line| unpadded(line) + "\n").collect()
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    // Microseconds are as exact as this can be measured, and as much as anybody reads.
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A time in its largest whole unit.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes in a unit in which it can be read.
pub fn bytes(count: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| count >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = ((u128::from(count) * 10) >> shift) % 10;
            format!("{}.{tenths} {unit}", count >> shift)
        }
        None => format!("{count} B"),
    }
}

/// Text that keeps to its line, and cannot steer the terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_the_unit_in_which_they_can_be_read() {
        assert_eq!(
            [0, 1023, 1536, 5 << 20, (3 << 30) + (1 << 29)].map(bytes),
            ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.5 GiB"]
        );
        assert_eq!(
            [999, 119_000, 120_000, 7_200_000, 172_800_000].map(age),
            ["0 s", "119 s", "2 min", "2 h", "2 days"]
        );
    }
}
