//! The figures of `scale` as a picture: on the left what the formula says and what was measured, on the right the course of it.

use std::path::Path;

use anyhow::Context;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::palette::{FAINT, FONT, GRID, INK, LINES};
use crate::scale::Stage;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1200, 460);
const HEADER: u32 = 56;

/// Draws all stages into one file.
pub(crate) fn draw(path: &Path, stages: &[Stage]) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "Concurrent runs of a fleet: instances × runs per instance";
    root.draw(&Text::new(title, (28, 20), (FONT, 24).into_font().color(&INK)))?;
    let (_, body) = root.split_vertically(HEADER);
    let (left, right) = body.split_horizontally(SIZE.0 / 2);
    draw_formula(&left, stages)?;
    draw_course(&right, stages)?;
    root.present()
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The line of the formula, and a point for each fleet on it or beside it.
fn draw_formula(area: &Canvas<'_>, stages: &[Stage]) -> anyhow::Result<()> {
    let formula = |stage: &Stage| (f64::from(stage.instances), f64::from(stage.formula));
    let (most_instances, top) = stages.last().map_or((1.0, 1.0), formula);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..most_instances + 0.5, 0.0..top * 1.4)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style((FONT, 12).into_font().color(&FAINT))
        .x_labels(stages.len() + 2)
        .x_label_formatter(&|instances| format!("{instances:.0}"))
        .y_label_formatter(&|runs| format!("{runs:.0}"))
        .x_desc("instances")
        .y_desc("runs at once")
        .draw()?;
    let line = [(0.0, 0.0)].into_iter().chain(stages.iter().map(formula));
    chart
        .draw_series(LineSeries::new(line, FAINT.stroke_width(2)))?
        .label("instances × runs per instance")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], FAINT.stroke_width(3)));
    let measured = [
        ("most in `running`, in the database", 7),
        ("most open calls at the provider", 4),
    ];
    for (index, ((label, size), color)) in measured.into_iter().zip(LINES).enumerate() {
        let figure = |stage: &Stage| [stage.most_running(), stage.most_open_calls()][index];
        let points = stages.iter().map(|stage| {
            Circle::new(
                (f64::from(stage.instances), f64::from(figure(stage))),
                size,
                color.filled(),
            )
        });
        chart
            .draw_series(points)?
            .label(label)
            .legend(move |(x, y)| Circle::new((x + 8, y), size, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 12).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}

/// Runs in `running` over time, a line for each fleet.
fn draw_course(area: &Canvas<'_>, stages: &[Stage]) -> anyhow::Result<()> {
    let moments = || stages.iter().flat_map(|stage| &stage.moments);
    let end = moments().map(|moment| moment.second).fold(1.0, f64::max);
    let top = moments().map(|moment| moment.running).max().unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(28)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..end, 0.0..f64::from(top) * 1.4)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style((FONT, 12).into_font().color(&FAINT))
        .x_label_formatter(&|second| format!("{second:.0} s"))
        .y_label_formatter(&|runs| format!("{runs:.0}"))
        .x_desc("time")
        .y_desc("runs in `running`")
        .draw()?;
    for (stage, color) in stages.iter().zip(LINES.into_iter().cycle()) {
        let points = stage
            .moments
            .iter()
            .map(|moment| (moment.second, f64::from(moment.running)));
        let label = match stage.instances {
            1 => "1 instance".to_owned(),
            count => format!("{count} instances"),
        };
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font((FONT, 12).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}
