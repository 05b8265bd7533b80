//! The report for people.

use std::fmt::Write as _;

use crate::arguments::name;
use crate::report::{Curve, Figure, FloorResult, PeerResult, Report, Spread, WorkResult};

/// The report as text, in blocks.
pub(crate) fn text(report: &Report) -> String {
    let mut blocks: Vec<String> = report.works.iter().map(work).collect();
    blocks.extend(report.growth.iter().map(curve));
    if !report.notes.is_empty() {
        blocks.push(report.notes.iter().map(|note| format!("note: {note}\n")).collect());
    }
    let mut machine = format!("machine: {}; {:.1} s\n", report.machine, report.seconds_taken);
    for (peer, version) in &report.versions {
        let _ = writeln!(machine, "{peer}: {version}");
    }
    blocks.push(machine);
    blocks.join("\n")
}

/// Figures that have a column, in this order.
const COLUMNS: [(Figure, &str); 17] = [
    (Figure::ConnectionsPerCpuSecond, "connections/CPU s"),
    (Figure::HandshakesPerSecond, "handshakes/s"),
    (Figure::TyphaLoad, "load"),
    (Figure::TyphaCpuMicros, "Typha µs"),
    (Figure::FelixCpuMicros, "Felix µs"),
    (Figure::AddedP50Micros, "added p50 µs"),
    (Figure::P50Micros, "p50 µs"),
    (Figure::P99Micros, "p99 µs"),
    (Figure::TyphaInMemoryMicros, "Typha µs in memory"),
    (Figure::FelixInMemoryMicros, "Felix µs in memory"),
    (Figure::MegabytesPerSecondToFelix, "MB/s to Felix"),
    (Figure::TyphaCpuMicrosPerMegabyteToFelix, "Typha µs/MB"),
    (Figure::FelixCpuMicrosPerMegabyteToFelix, "Felix µs/MB"),
    (Figure::MegabytesPerSecondToTypha, "MB/s to Typha"),
    (Figure::TyphaCpuMicrosPerMegabyteToTypha, "Typha µs/MB"),
    (Figure::FelixCpuMicrosPerMegabyteToTypha, "Felix µs/MB"),
    (Figure::BytesPerIdleConnection, "bytes/connection"),
];

/// Rows of cells, each column as wide as its widest cell; the first column is text, the others are numbers.
fn grid(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ =
                if column == 0 { write!(line, " {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn work(work: &WorkResult) -> String {
    let pinned = if work.disjoint_cores { "" } else { ", the same ones: both ends share them" };
    let mut text = format!(
        "{}  [{}]  Typha on {} core(s), Felix on {}{pinned}\n",
        work.work, work.mode, work.typha_cores, work.felix_cores,
    );
    let has = |figure: Figure| work.peers.iter().any(|peer| peer.figures.contains_key(&figure));
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(figure, _)| has(*figure)).collect();
    let ratios = if work.compared_by.is_some() && work.peers.len() > 1 { work.peers.as_slice() } else { &[] };
    let floor = work.peers.iter().any(|peer| peer.ratio_to_floor.is_some());

    let mut header = vec![String::new()];
    header.extend(columns.iter().map(|(_, title)| (*title).to_owned()));
    header.extend(ratios.iter().map(|other| format!("vs {}", other.peer.name())));
    header.extend(floor.then(|| "vs floor".to_owned()));
    let mut rows = vec![header];
    for peer in &work.peers {
        let mut row = vec![peer.peer.name().to_owned()];
        row.extend(columns.iter().map(|(figure, _)| cell(work, peer, *figure)));
        row.extend(ratios.iter().map(|other| ratio(peer.ratio_to.get(other.peer.name()))));
        row.extend(floor.then(|| ratio(peer.ratio_to_floor.as_ref())));
        rows.push(row);
    }
    if !work.peers.is_empty() {
        text.push_str(&grid(&rows));
    }
    if columns.iter().any(|(figure, _)| figure.user_and_system().is_some()) {
        text.push_str("  µs of CPU time are user+system\n");
    }
    for peer in &work.peers {
        if let Some(negotiated) = &peer.negotiated {
            let _ = writeln!(text, "  {}: {negotiated}", peer.peer.name());
        }
    }
    text.extend(work.floor.as_ref().map(self::floor));
    text.push_str(marks(std::iter::once(work)));
    if work.compared_by == Some(Figure::TyphaCpuMicros) {
        text.push_str("  the ratios between peers are by Typha's CPU time per handshake\n");
    }
    text
}

/// What the mark in the table means, if there is one.
fn marks<'a>(mut works: impl Iterator<Item = &'a WorkResult>) -> &'static str {
    if works.any(|work| work.peers.iter().any(|peer| work.is_lower_bound(peer))) {
        "  * a lower bound, Typha was not busy all the time: compare CPU time per handshake\n"
    } else {
        ""
    }
}

fn cell(work: &WorkResult, peer: &PeerResult, figure: Figure) -> String {
    let Some(value) = peer.median(figure) else { return "-".to_owned() };
    match figure {
        Figure::HandshakesPerSecond => format!("{}{}", number(value), work.mark(peer)),
        Figure::TyphaLoad => format!("{value:.2}"),
        _ => match peer.user_and_system(figure) {
            Some([user, system]) => format!("{} ({user:.0}+{system:.0})", number(value)),
            None => number(value),
        },
    }
}

fn ratio(ratio: Option<&Spread>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median))
}

/// Three digits or more, in groups.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn floor(floor: &FloorResult) -> String {
    format!(
        "  floor: {:.1} µs = key exchange {:.1} + signature {:.1} + {} x check {:.1}\n",
        floor.total_micros,
        floor.key_exchange_micros.median,
        floor.sign_micros.median,
        floor.verifies,
        floor.verify_micros.median,
    )
}

fn curve(curve: &Curve) -> String {
    let results = || curve.points.iter().map(|point| &point.result);
    let mode = results().next().map(|result| format!("  [{}]", result.mode)).unwrap_or_default();
    let mut text = format!("growth of {}{mode}\n", name(&curve.curve));
    let has =
        |figure| results().any(|result| result.peers.iter().any(|peer| peer.figures.contains_key(&figure)));
    let columns = [
        (Figure::HandshakesPerSecond, "handshakes/s"),
        (Figure::TyphaCpuMicros, "Typha µs"),
        (Figure::BytesPerIdleConnection, "bytes/connection"),
    ];
    let columns: Vec<_> = columns.into_iter().filter(|(figure, _)| has(*figure)).collect();
    let peers = results().next().map_or(&[][..], |result| &result.peers);
    let mut header = vec![curve.x_is.to_owned()];
    for peer in peers {
        header.extend(columns.iter().map(|(_, title)| format!("{} {title}", peer.peer.name())));
    }
    let mut rows = vec![header];
    for point in &curve.points {
        let shared = if point.result.disjoint_cores { "" } else { " (shared)" };
        let mut row = vec![format!("{}{shared}", point.x)];
        for peer in &point.result.peers {
            row.extend(columns.iter().map(|(figure, _)| cell(&point.result, peer, *figure)));
        }
        rows.push(row);
    }
    text.push_str(&grid(&rows));
    text.push_str(marks(results()));
    if results().any(|result| !result.disjoint_cores) {
        text.push_str("  (shared): both ends on the same cores\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let texts = [0.0, 3.16, 99.94, 100.4, 1234.5, 1_234_567.0, -2048.0].map(number);
        assert_eq!(texts, ["0.0", "3.2", "99.9", "100", "1,234", "1,234,567", "-2,048"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "a", "long"], ["name", "12", "3"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(grid(&rows), "         a  long\n  name  12     3\n");
    }
}
