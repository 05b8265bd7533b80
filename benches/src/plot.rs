//! The report as a picture.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::arguments::{Growth, name};
use crate::process::BenchError;
use crate::protocol::Implementation;
use crate::report::{Curve, Figure, Report, Spread, WorkResult};
use crate::table::number;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Plotted = Result<(), Box<dyn Error + Send + Sync>>;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(45, 52, 60);
const FAINT: RGBColor = RGBColor(222, 226, 230);
const PANEL_HEIGHT: u32 = 380;
const FEW_GROUPS: usize = 2;

fn color(peer: Implementation) -> RGBColor {
    match peer {
        Implementation::Ours => RGBColor(0, 114, 178),
        Implementation::Bare => RGBColor(230, 159, 0),
        Implementation::BareAes128 => RGBColor(204, 121, 167),
        Implementation::Go => RGBColor(0, 158, 115),
        // Proxies are not drawn.
        Implementation::Haproxy | Implementation::Stunnel | Implementation::Direct => INK,
    }
}

/// Writes the picture.
pub(crate) fn write(report: &Report, path: &Path) -> Result<(), BenchError> {
    let svg = svg(report).map_err(BenchError::machine("the plot cannot be drawn"))?;
    std::fs::write(path, svg)
        .map_err(|error| BenchError::Unusable(format!("{} cannot be written: {error}", path.display())))
}

fn svg(report: &Report) -> Result<String, Box<dyn Error + Send + Sync>> {
    let bars = [
        (Figure::HandshakesPerSecond, "handshakes/s (more is better)"),
        (Figure::TyphaCpuMicros, "Typha's CPU µs per handshake (less is better)"),
        (Figure::P50Micros, "p50 of a round, µs (less is better)"),
        (Figure::BytesPerIdleConnection, "bytes per idle connection (less is better)"),
        (Figure::MegabytesPerSecondToFelix, "bulk, MB/s to Felix (more is better)"),
        (Figure::MegabytesPerSecondToTypha, "bulk, MB/s to Typha (more is better)"),
    ]
    .map(|(figure, title)| (figure, title, groups(report, figure)));
    let bars: Vec<_> = bars.into_iter().filter(|(_, _, groups)| !groups.is_empty()).collect();
    // A panel with few groups takes half of the width.
    let (narrow, wide): (Vec<_>, Vec<_>) = bars.iter().partition(|(_, _, groups)| groups.len() <= FEW_GROUPS);
    let panels = wide.len() + narrow.len().div_ceil(2) + report.growth.len();
    let widest = bars.iter().map(|(_, _, groups)| groups.len() * (report.peers.len() * 46 + 24)).max();
    let width = u32::try_from(widest.unwrap_or(0).max(780) + 140)?;
    let height = u32::try_from(panels.max(1))? * PANEL_HEIGHT + 40;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (legend, below) = root.split_vertically(40);
        self::legend(&legend, &report.peers)?;
        let areas = below.split_evenly((panels.max(1), 1));
        let mut rows = areas.iter();
        for ((figure, title, groups), area) in wide.iter().zip(rows.by_ref()) {
            grouped_bars(area, *figure, title, groups, &report.peers)?;
        }
        for (pair, row) in narrow.chunks(2).zip(rows.by_ref()) {
            for ((figure, title, groups), area) in pair.iter().zip(row.split_evenly((1, 2))) {
                grouped_bars(&area, *figure, title, groups, &report.peers)?;
            }
        }
        for (curve, area) in report.growth.iter().zip(rows) {
            lines(area, curve, &report.peers)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The works of the implementations that have this figure.
fn groups(report: &Report, figure: Figure) -> Vec<&WorkResult> {
    let has = |work: &&WorkResult| {
        // Under a load, p50 is the time in the queue.
        let shown = figure != Figure::P50Micros || work.compared_by == Some(Figure::P50Micros);
        let known = work.peers.iter().all(|peer| report.peers.contains(&peer.peer));
        shown && known && work.peers.iter().any(|peer| peer.figures.contains_key(&figure))
    };
    report.works.iter().filter(has).collect()
}

/// A number on the axis.
fn tick(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() == 0.0 { format!("{value:.0}") } else { number(value) }
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn above(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Center, VPos::Bottom))
}

fn legend(area: &Area<'_>, peers: &[Implementation]) -> Plotted {
    let mut x = 90;
    for peer in peers {
        area.draw(&Rectangle::new([(x, 16), (x + 14, 30)], color(*peer).filled()))?;
        area.draw(&Text::new(peer.name(), (x + 20, 16), text(15)))?;
        x += 120;
    }
    area.draw(&Text::new("* lower bound: Typha was not busy all the time", (x, 16), text(13)))?;
    Ok(())
}

/// A panel with its axes; labels of the x axis go below it, into an area of this height.
fn panel<'a>(
    area: &Area<'a>,
    title: &str,
    x: Range<f64>,
    top: f64,
    labels: u32,
) -> Result<Chart<'a>, Box<dyn Error + Send + Sync>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, text(17))
        .margin(12)
        .x_label_area_size(labels)
        .y_label_area_size(76)
        .build_cartesian_2d(x, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(6)
        .y_label_formatter(&|value| tick(*value))
        .label_style(text(13))
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .axis_style(INK)
        .draw()?;
    Ok(chart)
}

/// Writes so far below the x axis.
fn label_below(area: &Area<'_>, chart: &Chart<'_>, x: f64, distance: i32, label: String) -> Plotted {
    let (x, y) = chart.plotting_area().map_coordinate(&(x, 0.0));
    let (base_x, base_y) = area.get_base_pixel();
    let below = text(13).pos(Pos::new(HPos::Center, VPos::Top));
    area.draw(&Text::new(label, (x - base_x, y - base_y + distance), below))?;
    Ok(())
}

fn grouped_bars(
    area: &Area<'_>,
    figure: Figure,
    title: &str,
    works: &[&WorkResult],
    peers: &[Implementation],
) -> Plotted {
    let spread = |work: &WorkResult, peer| work.peer(peer)?.figures.get(&figure).copied();
    let values = works.iter().flat_map(|work| peers.iter().filter_map(|peer| spread(work, *peer)));
    let top = values.map(|spread: Spread| spread.max).fold(0.0, f64::max).max(1.0) * 1.12;
    let mut chart = panel(area, title, 0.0..works.len() as f64, top, 34)?;
    // A tenth of a group stays free on each side.
    let bar = 0.8 / peers.len().max(1) as f64;
    for (index, work) in works.iter().enumerate() {
        for (place, peer) in peers.iter().enumerate() {
            let (Some(spread), Some(result)) = (spread(work, *peer), work.peer(*peer)) else { continue };
            let mark = if figure == Figure::HandshakesPerSecond { work.mark(result) } else { "" };
            let left = index as f64 + 0.1 + place as f64 * bar;
            let (right, middle) = (left + bar * 0.92, left + bar * 0.46);
            let corners = [(left, 0.0), (right, spread.median)];
            chart.draw_series([Rectangle::new(corners, color(*peer).filled())])?;
            let whisker = [(middle, spread.min), (middle, spread.max)];
            chart.draw_series([PathElement::new(whisker, INK.mix(0.6))])?;
            let (label, place) = (format!("{}{mark}", number(spread.median)), spread.max + top * 0.01);
            chart.draw_series([Text::new(label, (middle, place), above(11))])?;
        }
        label_below(area, &chart, index as f64 + 0.5, 8, work.work.clone())?;
    }
    Ok(())
}

/// Handshakes/s, and beside them what they cost.
fn lines(area: &Area<'_>, curve: &Curve, peers: &[Implementation]) -> Plotted {
    let (figure, title) = match curve.curve {
        Growth::Clients => (Figure::BytesPerIdleConnection, "bytes per idle connection"),
        _ => (Figure::TyphaCpuMicros, "Typha's CPU µs per handshake"),
    };
    let (left, right) = area.split_horizontally(area.dim_in_pixel().0 / 2);
    line_panel(&left, curve, peers, Figure::HandshakesPerSecond, "handshakes/s")?;
    line_panel(&right, curve, peers, figure, title)
}

/// The points of a curve have equal distances, since most of their values are multiples of each other.
fn line_panel(
    area: &Area<'_>,
    curve: &Curve,
    peers: &[Implementation],
    figure: Figure,
    y_is: &str,
) -> Plotted {
    let value = |index: usize, peer| curve.points.get(index)?.result.peer(peer)?.median(figure);
    let count = curve.points.len();
    let all = (0..count).flat_map(|index| peers.iter().filter_map(move |peer| value(index, *peer)));
    let top = all.fold(0.0, f64::max).max(1.0) * 1.15;
    let last = count.saturating_sub(1) as f64;
    let mut chart = panel(area, &format!("{}: {y_is}", name(&curve.curve)), -0.4..last + 0.4, top, 52)?;
    for peer in peers {
        let color = color(*peer);
        let points: Vec<_> =
            (0..count).filter_map(|index| Some((index as f64, value(index, *peer)?))).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
    }
    for (index, point) in curve.points.iter().enumerate() {
        let values = peers.iter().filter_map(|peer| Some((*peer, value(index, *peer)?))).collect();
        for (peer, value, y) in labels(values, top) {
            let color = color(peer);
            let style = above(11).color(&color);
            chart.draw_series([Text::new(number(value), (index as f64, y), style)])?;
        }
        let shared = if point.result.disjoint_cores { "" } else { " (shared)" };
        label_below(area, &chart, index as f64, 8, format!("{}{shared}", point.x))?;
    }
    label_below(area, &chart, last / 2.0, 28, curve.x_is.to_owned())
}

/// Places for the numbers of points above each other, so that all can be read: peer, value, place.
fn labels(mut values: Vec<(Implementation, f64)>, top: f64) -> Vec<(Implementation, f64, f64)> {
    let (above_point, below_point, line) = (top * 0.02, top * 0.07, top * 0.05);
    values.sort_by(|(_, first), (_, second)| first.total_cmp(second));
    let mut placed = Vec::<(Implementation, f64, f64)>::new();
    for (index, (peer, value)) in values.iter().enumerate() {
        let next = values.get(index + 1).map(|(_, next)| *next);
        let crowded = next.is_some_and(|next| next - value < 2.0 * line);
        let below = placed.last().map_or(0.0, |(_, _, place)| place + line);
        // The lower one of two close points has its number below it, if nothing is there.
        let place = if crowded && below <= value - below_point {
            value - below_point
        } else {
            (value + above_point).max(below)
        };
        placed.push((*peer, *value, place));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_cover_each_other() {
        use Implementation::{Bare, Go, Ours};
        let places = labels(vec![(Ours, 51.0), (Bare, 50.0), (Go, 10.0)], 100.0);
        assert_eq!(places, [(Go, 10.0, 12.0), (Bare, 50.0, 43.0), (Ours, 51.0, 53.0)]);
        let places = labels(vec![(Ours, 50.0), (Bare, 50.0), (Go, 50.0)], 100.0);
        let places: Vec<_> = places.iter().map(|(_, _, place)| *place).collect();
        assert_eq!(places, [43.0, 52.0, 57.0]);
    }
}
