//! Benchmarks as SVG, of the same samples as the tables: each sample a point, and what many at once do to the rate.

use std::ops::Range;
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::benchmark::Benchmark;
use super::document::Document;
use super::record::{Record, Row, Unit};
use super::table::figure;
use crate::refusal::host;
use crate::results;
use crate::text::{BYTES_OF_MIB, NANOSECONDS_OF_MS};

/// Pixels.
const WIDTH: u32 = 900;
/// Pixels for each target, and for all that is around them.
const ROW: u32 = 34;
const AROUND: u32 = 110;
const CURVE_HEIGHT: u32 = 480;
/// Pixels for the targets' names.
const NAMES: u32 = 130;
/// Pixels for the figures behind the points.
const FIGURES: u32 = 150;
/// The most points of a strip: more would be a bar.
const POINTS_MAX: usize = 1000;
/// How much longer the axis is for the legend.
const LEGEND: f64 = 1.7;
const FONT: &str = "sans-serif";
const TEXT: u32 = 14;
const TITLE: u32 = 17;

/// Okabe and Ito's colours, which nobody confuses, and some more for many targets.
const COLOURS: [RGBColor; 11] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(140, 140, 140),
    RGBColor(128, 64, 0),
    RGBColor(110, 60, 160),
    RGBColor(120, 130, 0),
];

/// The plots of a benchmark, each with its file's name; none of one without samples.
///
/// # Errors
/// It cannot be drawn.
pub fn of(record: &Record) -> Result<Vec<(String, String)>> {
    let key = record.benchmark.key();
    let rows: Vec<&Row> = record.rows.iter().filter(|row| !row.samples.is_empty()).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |why: String| Error::new(ErrorKind::Internal, "draw the plot", why).on(key);
    let mut plots = vec![(
        format!("{key}-distribution.svg"),
        distribution(record.benchmark, &rows).map_err(|why| failed(why.to_string()))?,
    )];
    if record.benchmark == Benchmark::Concurrent {
        let curve = curve(&rows).map_err(|why| failed(why.to_string()))?;
        plots.push((format!("{key}-curve.svg"), curve));
    }
    Ok(plots)
}

/// Draws all of a run into a folder, and gives the files' names.
///
/// # Errors
/// The folder's disk is full, for example.
pub fn save(document: &Document, folder: &Path) -> Result<Vec<String>> {
    let failed = |why: std::io::Error| host("save the plots", folder.display(), why);
    let mut names = Vec::new();
    for record in &document.benchmarks {
        for (name, svg) in of(record)? {
            results::save(folder, &name, &svg).map_err(failed)?;
            names.push(name);
        }
    }
    Ok(names)
}

type Fallible<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Drawn = Fallible<String>;

/// A little more than from the least to the greatest, for a logarithmic axis.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    low * 0.8..high.max(low * 1.01) * 1.25
}

/// Values in the unit that people read, and that unit.
fn read(row: &Row) -> (Vec<f64>, &'static str) {
    let unit = row.p50_compared().map_or(Unit::Time, |(_, unit)| unit);
    let (divisor, name) = match unit {
        Unit::Time => (NANOSECONDS_OF_MS, "ms"),
        Unit::Bytes => (BYTES_OF_MIB, "MiB"),
    };
    (row.values_compared().into_iter().map(|value| value / divisor).collect(), name)
}

fn name(row: &Row) -> String {
    if row.at_once > 1 { format!("{} × {}", row.target, row.at_once) } else { row.target.clone() }
}

#[expect(clippy::cast_precision_loss, reason = "a few rows and points")]
fn place(index: usize) -> f64 {
    index as f64
}

/// A strip for each target: its samples, and a bar where the p50 is.
fn distribution(benchmark: Benchmark, rows: &[&Row]) -> Drawn {
    let mut svg = String::new();
    let height = AROUND + ROW * u32::try_from(rows.len())?;
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let all = around(rows.iter().flat_map(|row| read(row).0));
        let unit = rows.first().map_or("ms", |row| read(row).1);
        let mut chart = ChartBuilder::on(&area)
            .caption(benchmark.title(), (FONT, TITLE))
            .margin(10)
            .margin_left(NAMES)
            .margin_right(FIGURES)
            .x_label_area_size(44)
            .build_cartesian_2d(all.clone().log_scale(), 0.0..place(rows.len()))?;
        let about = format!("{unit}, logarithmic; each sample a point, a bar at the p50");
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .max_light_lines(1)
            .x_labels(6)
            .x_desc(about)
            .label_style((FONT, TEXT))
            .draw()?;
        for (index, row) in rows.iter().enumerate() {
            strip(&mut chart, index, place(rows.len() - index) - 0.5, row, &all)?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// What plotters' chart is with two logarithmic axes, or one.
type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, Y>>;

/// One target's samples around the height that is its own.
fn strip(
    chart: &mut Chart<'_, '_, RangedCoordf64>,
    index: usize,
    middle: f64,
    row: &Row,
    all: &Range<f64>,
) -> Fallible<()> {
    let colour = COLOURS[index % COLOURS.len()];
    let values = read(row).0;
    let every = values.len().div_ceil(POINTS_MAX);
    let points = values.into_iter().step_by(every.max(1)).enumerate();
    let points = points.map(|(at, value)| (value, middle + scattered(at)));
    chart.draw_series(points.map(|at| Circle::new(at, 3, colour.mix(0.35).filled())))?;
    chart.draw_series(labels(row, middle, all))?;
    let p50 = row.p50_compared().map_or(all.start, |(value, unit)| value / scale(unit));
    let bar = vec![(p50, middle - 0.4), (p50, middle + 0.4)];
    chart.draw_series([PathElement::new(bar, colour.stroke_width(3))])?;
    Ok(())
}

fn scale(unit: Unit) -> f64 {
    match unit {
        Unit::Time => NANOSECONDS_OF_MS,
        Unit::Bytes => BYTES_OF_MIB,
    }
}

/// Beside its line, the same each time: by the golden ratio neighbours are far from each other.
fn scattered(index: usize) -> f64 {
    ((place(index) * 0.618_034).fract() - 0.5) * 0.6
}

type Label = Text<'static, (f64, f64), String>;

/// The target's name before its strip, its p50 and how many samples behind it.
fn labels(row: &Row, middle: f64, all: &Range<f64>) -> [Label; 2] {
    let style = |at| TextStyle::from((FONT, TEXT)).pos(Pos::new(at, VPos::Center));
    let p50 = row.p50_compared().map_or(String::new(), |(value, unit)| figure(value, unit));
    let beside = format!("   {p50}, n {}", row.samples.len());
    [
        Text::new(format!("{}   ", name(row)), (all.start, middle), style(HPos::Right)),
        Text::new(beside, (all.end, middle), style(HPos::Left)),
    ]
}

/// How many in a second, by how many at once.
fn curve(rows: &[&Row]) -> Drawn {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, CURVE_HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        let at_once = around(rows.iter().map(|row| f64::from(row.at_once)));
        // Behind the last points is the legend.
        let at_once = at_once.start..at_once.end * LEGEND;
        let rates = around(rows.iter().filter_map(|row| row.per_second()));
        let mut chart = ChartBuilder::on(&area)
            .caption("Commands a second, by how many are taken at once", (FONT, TITLE))
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(at_once.log_scale().base(2.0), rates.log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1)
            .x_desc("at once, logarithmic")
            .y_desc("a second, logarithmic")
            .label_style((FONT, TEXT))
            .draw()?;
        lines(&mut chart, rows)?;
        let mut legend = chart.configure_series_labels();
        legend
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.4))
            .label_font((FONT, TEXT))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// One target's rates, as a line of its colour.
fn lines(chart: &mut Chart<'_, '_, LogCoord<f64>>, rows: &[&Row]) -> Fallible<()> {
    let all: Vec<&str> = rows.iter().map(|row| &*row.target).collect();
    let mut targets = all.clone();
    targets.sort_by_key(|target| all.iter().position(|known| known == target));
    targets.dedup();
    for (index, target) in targets.into_iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let of_target = rows.iter().filter(|row| row.target == target);
        let line: Vec<(f64, f64)> =
            of_target.filter_map(|row| Some((f64::from(row.at_once), row.per_second()?))).collect();
        chart.draw_series(line.iter().map(|at| Circle::new(*at, 4, colour.filled())))?;
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(target)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::subject::Sample;

    fn row(target: &str, at_once: u32) -> Row {
        let sample = |ns| Sample {
            round: Some(0),
            began_ns: 0,
            total_ns: ns,
            parts: std::collections::BTreeMap::new(),
            bytes: std::collections::BTreeMap::new(),
            exit_code: 0,
            stdout_sha256: String::new(),
        };
        Row { samples: [1_000_000, 2_000_000, 9_000_000].map(sample).to_vec(), ..Row::new(target, at_once) }
    }

    #[test]
    fn each_sample_is_a_point_and_each_target_is_named() {
        let absent = Row::absent("gone", "it is not installed".into());
        let record = Record::new(Benchmark::Startup, vec![row("host", 1), row("a<b", 1), absent], 1);
        let plots = of(&record).expect("drawn");
        let [(name, svg)] = &plots[..] else { panic!("{}", plots.len()) };
        assert_eq!(name, "startup-distribution.svg");
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains("a&lt;b") && svg.contains("2.00 ms, n 3") && !svg.contains("gone"), "{svg}");
    }

    #[test]
    fn concurrency_has_a_curve_and_nothing_has_no_plot() {
        let record = Record::new(Benchmark::Concurrent, vec![row("host", 1), row("host", 2)], 1);
        let names: Vec<String> = of(&record).expect("drawn").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["concurrent-distribution.svg", "concurrent-curve.svg"]);
        let nothing = Record::new(Benchmark::Fork, vec![Row::absent("host", "no".into())], 1);
        assert!(of(&nothing).expect("nothing to draw").is_empty());
    }

    #[test]
    fn samples_that_are_all_the_same_can_be_drawn() {
        let mut same = row("host", 1);
        same.samples.iter_mut().for_each(|sample| sample.total_ns = 5);
        assert!(of(&Record::new(Benchmark::Exec, vec![same], 1)).is_ok());
    }
}
