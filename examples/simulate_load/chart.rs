//! The figures as a picture: a row per scenario, durations on the left, the course of it on the right.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::distribution::Distribution;
use crate::palette::{FAINT, FONT, GRID, INK, LINES, MET, MISSED};
use crate::report::{Finding, Report, Target, figure};

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1200;
const HEADER: u32 = 64;
const ROW: u32 = 380;
/// Of a row, what its title and figures take.
const ROW_TITLE: u32 = 62;

/// Draws all reports into one file.
pub(crate) fn draw(path: &Path, reports: &[Report]) -> anyhow::Result<()> {
    let rows = u32::try_from(reports.len())?;
    let root = SVGBackend::new(path, (WIDTH, HEADER + rows * ROW)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(
        "Callboard under load",
        (28, 20),
        (FONT, 26).into_font().color(&INK),
    ))?;
    let (_, body) = root.split_vertically(HEADER);
    for (report, row) in reports.iter().zip(body.split_evenly((reports.len().max(1), 1))) {
        draw_row(&row, report)?;
    }
    root.present()?;
    Ok(())
}

fn draw_row(row: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let (title, charts) = row.split_vertically(ROW_TITLE);
    title.draw(&PathElement::new([(28, 0), (WIDTH as i32 - 28, 0)], GRID))?;
    let heading = format!("{}: {}", report.scenario, report.what);
    title.draw(&Text::new(heading, (28, 14), (FONT, 17).into_font().color(&INK)))?;
    let mut left = 28;
    for finding in report.findings.iter().filter(|finding| finding.target.is_some()) {
        let (text, color) = verdict(finding);
        let style = (FONT, 13).into_font().color(&color);
        let width = i32::try_from(title.estimate_text_size(&text, &style)?.0)?;
        title.draw(&Text::new(text, (left, 40), style))?;
        left += width + 28;
    }
    let (left, right) = charts.split_horizontally(WIDTH / 2);
    let drawn: Vec<&Distribution> = report.distributions.iter().filter(|drawn| !drawn.is_empty()).collect();
    if drawn.is_empty() {
        return draw_memory(&charts, report);
    }
    draw_durations(&left, &drawn)?;
    draw_throughput(&right, report)
}

fn verdict(finding: &Finding) -> (String, RGBColor) {
    let (sign, limit) = match finding.target {
        Some(Target::AtMost(limit)) => ("≤", limit),
        Some(Target::AtLeast(limit)) => ("≥", limit),
        None => ("", 0.0),
    };
    let is_met = finding.is_met() == Some(true);
    let mark = if is_met { "✓" } else { "✗" };
    let text = format!(
        "{mark} {} {} {} ({sign} {})",
        finding.name,
        figure(finding.figure),
        finding.unit,
        figure(limit)
    );
    (text, if is_met { MET } else { MISSED })
}

/// The part of all runs that stays under a duration: 90 %, 99 % and 99.9 % are equally far apart, and so are 1, 10 and 100 ms.
fn draw_durations(area: &Canvas<'_>, distributions: &[&Distribution]) -> anyhow::Result<()> {
    let curves: Vec<Vec<(f64, f64)>> = distributions.iter().map(|distribution| distribution.curve()).collect();
    let points = || curves.iter().flatten();
    let nines = points().map(|point| point.0).fold(1.0, f64::max);
    let slowest = points().map(|point| point.1).fold(1.0, f64::max) * 1.6;
    let fastest = points().map(|point| point.1).fold(slowest, f64::min) / 1.6;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..nines, (fastest..slowest).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style((FONT, 12).into_font().color(&FAINT))
        .x_labels(usize::try_from(nines as i64)? + 2)
        .x_label_formatter(&|nines| percent_of(*nines))
        .y_label_formatter(&|milliseconds| format!("{} ms", figure(*milliseconds)))
        .x_desc("percentile")
        .draw()?;
    for ((distribution, curve), color) in distributions.iter().zip(curves).zip(LINES) {
        let line = LineSeries::new(curve, color.stroke_width(2));
        chart
            .draw_series(line)?
            .label(distribution.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 12).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}

/// 0 → 0 %, 1 → 90 %, 2 → 99 %, 3 → 99.9 %.
fn percent_of(nines: f64) -> String {
    if nines.fract() != 0.0 {
        return String::new();
    }
    let decimals = (nines as usize).saturating_sub(2);
    format!("{:.decimals$} %", 100.0 - 100.0 * 10_f64.powf(-nines))
}

/// Runs that ended per second, over time.
fn draw_throughput(area: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let pairs = report.moments.windows(2);
    let rates = pairs.map(|pair| {
        let ended = pair[1].finished.saturating_sub(pair[0].finished) as f64;
        (pair[1].second, ended / (pair[1].second - pair[0].second).max(1e-3))
    });
    draw_course(area, rates.collect(), "runs/s", LINES[0])
}

/// Memory, over time.
fn draw_memory(area: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let moments = report.moments.iter();
    let memory = moments.map(|moment| (moment.second, moment.spending.rss_bytes as f64 / 1_048_576.0));
    draw_course(area, memory.collect(), "MiB of RSS", LINES[2])
}

fn draw_course(area: &Canvas<'_>, points: Vec<(f64, f64)>, unit: &str, color: RGBColor) -> anyhow::Result<()> {
    let end = points.last().map_or(1.0, |point| point.0.max(0.1));
    let top = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style((FONT, 12).into_font().color(&FAINT))
        .x_label_formatter(&|second| format!("{} s", figure(*second)))
        .y_label_formatter(&|value| figure(*value))
        .x_desc("time")
        .y_desc(unit)
        .draw()?;
    let mut outline = vec![(0.0, 0.0)];
    outline.extend(points.iter().copied());
    outline.push((end, 0.0));
    chart.draw_series([Polygon::new(outline, color.mix(0.12))])?;
    chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
    Ok(())
}
