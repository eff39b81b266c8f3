//! The course of a trial as a picture: above, what is used of each key; below, who waits.

use std::path::Path;

use anyhow::Context;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::palette::{FAINT, FONT, GRID, INK, LINES, MET, MISSED};
use crate::trial::Report;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const SIZE: (u32, u32) = (1200, 820);
const HEADER: u32 = 88;
const UPPER: u32 = 400;
/// Between two points of a line.
const STEP_US: usize = 250_000;

/// Draws it into a file.
pub(crate) fn draw(path: &Path, report: &Report) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER);
    draw_header(&header, report)?;
    let (upper, lower) = body.split_vertically(UPPER);
    draw_shares(&upper, report)?;
    draw_waiting(&lower, report)?;
    root.present()
        .with_context(|| format!("cannot write {}", path.display()))
}

fn draw_header(area: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let title =
        "What of its keys a fleet uses: share of each key's scarcer limit in the last minute, and calls that wait";
    area.draw(&Text::new(title, (28, 20), (FONT, 22).into_font().color(&INK)))?;
    let mut left = 28;
    for verdict in report.verdicts() {
        let color = if verdict.is_met { MET } else { MISSED };
        let style = (FONT, 13).into_font().color(&color);
        let text = verdict.in_short();
        let width = i32::try_from(area.estimate_text_size(&text, &style)?.0)?;
        area.draw(&Text::new(text, (left, 58), style))?;
        left += width + 28;
    }
    Ok(())
}

fn draw_shares(area: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let mut chart = axes(area, report, 1.25, "share of the limit", &|share| {
        format!("{:.0} %", share * 100.0)
    })?;
    mark_disturbances(&mut chart, report, 1.25)?;
    let limit = [(0.0, 1.0), (seconds(report), 1.0)];
    chart.draw_series(LineSeries::new(limit, MISSED.stroke_width(1)))?;
    for (one, color) in report.uses.iter().zip(LINES) {
        let points = moments(report).map(|(second, at_us)| (second, one.share(at_us)));
        let label = format!("{} …{}", one.key.region, one.key.ending);
        draw_line(&mut chart, points, color, label)?;
    }
    draw_legend(&mut chart)
}

fn draw_waiting(area: &Canvas<'_>, report: &Report) -> anyhow::Result<()> {
    let waiting = |account: usize, at_us: i64| report.waits.waiting(account, at_us) as f64;
    let accounts = || 0..report.accounts.len();
    let all = moments(report).flat_map(|(_, at_us)| accounts().map(move |account| waiting(account, at_us)));
    let top = all.fold(1.0, f64::max) * 1.25;
    let mut chart = axes(area, report, top, "calls that wait", &|calls| format!("{calls:.0}"))?;
    mark_disturbances(&mut chart, report, top)?;
    for ((account, planned), color) in accounts().zip(&report.accounts).zip(LINES) {
        let points = moments(report).map(|(second, at_us)| (second, waiting(account, at_us)));
        draw_line(&mut chart, points, color, planned.name.to_owned())?;
    }
    draw_legend(&mut chart)
}

fn axes<'a>(
    area: &Canvas<'a>,
    report: &Report,
    top: f64,
    unit: &str,
    in_words: &dyn Fn(&f64) -> String,
) -> anyhow::Result<Chart<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(38)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..seconds(report), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style((FONT, 12).into_font().color(&FAINT))
        .x_label_formatter(&|second| format!("{second:.0} s"))
        .y_label_formatter(in_words)
        .x_desc("time")
        .y_desc(unit)
        .draw()?;
    Ok(chart)
}

/// What lasts is a band, what happens at once a line.
fn mark_disturbances(chart: &mut Chart<'_>, report: &Report, top: f64) -> anyhow::Result<()> {
    for disturbance in &report.course.disturbances {
        let second = |at_us: i64| (at_us - report.course.began_us) as f64 / 1e6;
        let from = second(disturbance.from_us);
        if let Some(until) = disturbance.until_us {
            let band = Rectangle::new([(from, 0.0), (second(until), top)], FAINT.mix(0.15).filled());
            chart.draw_series([band])?;
        }
        chart.draw_series(LineSeries::new([(from, 0.0), (from, top)], FAINT.stroke_width(1)))?;
        let style = (FONT, 12).into_font().color(&INK);
        let name = Text::new(disturbance.kind.to_string(), (from + 1.0, top * 0.98), style);
        chart.draw_series([name])?;
    }
    Ok(())
}

fn draw_line(
    chart: &mut Chart<'_>,
    points: impl Iterator<Item = (f64, f64)>,
    color: RGBColor,
    label: String,
) -> anyhow::Result<()> {
    chart
        .draw_series(LineSeries::new(points, color.stroke_width(2)))?
        .label(label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3)));
    Ok(())
}

fn draw_legend(chart: &mut Chart<'_>) -> anyhow::Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font((FONT, 12).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}

/// How long it took.
fn seconds(report: &Report) -> f64 {
    (report.ended_us() - report.course.began_us) as f64 / 1e6
}

/// Points of time, as seconds from the beginning and as microseconds since 1970.
fn moments(report: &Report) -> impl Iterator<Item = (f64, i64)> {
    let began = report.course.began_us;
    (began..report.ended_us())
        .step_by(STEP_US)
        .map(move |at_us| ((at_us - began) as f64 / 1e6, at_us))
}
