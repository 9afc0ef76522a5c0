//! Tables and numbers as text.

use std::time::Duration;

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
