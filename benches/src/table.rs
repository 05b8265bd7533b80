//! The report for people.

use std::fmt::Write as _;

use super::figures::{Figure, PeerResult, Spread, peer_name};
use super::floor::FloorResult;
use super::protocol::Implementation;
use super::report::{Curve, Report, WorkResult};
use super::targets::{Bound, Target, Verdict};
use super::watch::Limit;

/// The report as text, in blocks.
pub(crate) fn text(report: &Report) -> String {
    let mut blocks: Vec<String> = report.works.iter().map(work).collect();
    blocks.extend(report.growth.iter().map(curve));
    if !report.targets.is_empty() {
        blocks.push(targets(&report.targets));
    }
    if !report.notes.is_empty() {
        blocks.push(report.notes.iter().map(|note| format!("note: {note}\n")).collect());
    }
    blocks.push(machine(report));
    blocks.join("\n")
}

/// Figures that have a column, in this order.
const COLUMNS: [(Figure, &str); 15] = [
    (Figure::HandshakesPerSecond, "handshakes/s"),
    (Figure::TyphaLoad, "load"),
    (Figure::TyphaCpuMicros, "Typha µs"),
    (Figure::FelixCpuMicros, "Felix µs"),
    (Figure::P50Micros, "p50 µs"),
    (Figure::P99Micros, "p99 µs"),
    (Figure::TyphaInMemoryMicros, "Typha µs in memory"),
    (Figure::FelixInMemoryMicros, "Felix µs in memory"),
    (Figure::MegabytesPerSecondToFelix, "MB/s to Felix"),
    (Figure::FelixCpuMicrosPerMegabyteToFelix, "Felix µs/MB"),
    (Figure::MegabytesPerSecondToTypha, "MB/s to Typha"),
    (Figure::FelixCpuMicrosPerMegabyteToTypha, "Felix µs/MB"),
    (Figure::BytesPerIdleConnection, "bytes/connection"),
    (Figure::TwoCoreGain, "two cores vs one"),
    (Figure::ResumedShare, "share resumed"),
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
    let pinned = if work.disjoint_cores { "" } else { ", the same ones: nothing is pinned apart" };
    let mut text = format!(
        "{}  [{}]  Typha on {} core(s), Felix on {}{pinned}\n",
        work.work, work.mode, work.typha_cores, work.felix_cores,
    );
    let has = |figure: Figure| work.peers.iter().any(|peer| peer.figures.contains_key(&figure));
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(figure, _)| has(*figure)).collect();
    let others: Vec<Implementation> = work.peers.iter().map(|peer| peer.peer).collect();
    let ratios = others.len() > 1 && work.compared_by.is_some();
    let floor = work.peers.iter().any(|peer| peer.ratio_to_floor.is_some());
    let handshakes = has(Figure::HandshakesPerSecond);

    let mut header = vec![String::new()];
    header.extend(columns.iter().map(|(_, title)| (*title).to_owned()));
    if ratios {
        header.extend(others.iter().map(|other| format!("vs {}", peer_name(*other))));
    }
    header.extend(floor.then(|| "vs floor".to_owned()));
    header.extend(handshakes.then(|| "resumed".to_owned()));
    let mut rows = vec![header];
    for peer in &work.peers {
        let mut row = vec![peer_name(peer.peer).to_owned()];
        row.extend(columns.iter().map(|(figure, _)| cell(work, peer, *figure)));
        if ratios {
            row.extend(others.iter().map(|other| ratio(peer.ratio_to.get(peer_name(*other)))));
        }
        row.extend(floor.then(|| ratio(peer.ratio_to_floor.as_ref())));
        row.extend(handshakes.then(|| peer.resumed.to_string()));
        rows.push(row);
    }
    if !work.peers.is_empty() {
        text.push_str(&grid(&rows));
    }
    for peer in &work.peers {
        if let Some(negotiated) = &peer.negotiated {
            let _ = writeln!(text, "  {}: {negotiated}", peer_name(peer.peer));
        }
    }
    text.extend(work.floor.as_ref().map(self::floor));
    if work.peers.iter().any(|peer| limited_by_load(work, peer)) {
        text.push_str("  * limited by the load, compare CPU per handshake\n");
    }
    if work.compared_by == Some(Figure::TyphaCpuMicros) {
        text.push_str("  the ratios between peers are by Typha's CPU per handshake\n");
    }
    if work.peers.iter().any(disturbed) {
        text.push_str("  ! disturbed: somebody else had a part in it\n");
    }
    text
}

/// Whether the handshakes/s say more about the load than about Typha.
pub(crate) fn limited_by_load(work: &WorkResult, peer: &PeerResult) -> bool {
    work.compared_by == Some(Figure::TyphaCpuMicros) && peer.limited_by == Some(Limit::Load)
}

fn disturbed(peer: &PeerResult) -> bool {
    peer.limited_by == Some(Limit::Disturbed)
}

/// What stands behind the handshakes/s.
pub(crate) fn mark(work: &WorkResult, peer: &PeerResult) -> &'static str {
    match (limited_by_load(work, peer), disturbed(peer)) {
        (true, _) => " *",
        (_, true) => " !",
        _ => "",
    }
}

fn cell(work: &WorkResult, peer: &PeerResult, figure: Figure) -> String {
    let Some(value) = peer.median(figure) else { return "-".to_owned() };
    match figure {
        Figure::HandshakesPerSecond => format!("{}{}", number(value), mark(work, peer)),
        Figure::TwoCoreGain | Figure::ResumedShare | Figure::TyphaLoad => format!("{value:.2}"),
        _ => number(value),
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
    let mode = curve.points.first().map(|point| format!("  [{}]", point.result.mode)).unwrap_or_default();
    let mut text = format!("growth of {}{mode}\n", super::mode::name(&curve.curve));
    let memory = curve.points.iter().flat_map(|point| &point.result.peers);
    let memory = memory.clone().any(|peer| peer.figures.contains_key(&Figure::BytesPerIdleConnection));
    let peers: Vec<_> = curve
        .points
        .first()
        .map_or(Vec::new(), |point| point.result.peers.iter().map(|peer| peer.peer).collect());
    let mut header = vec![curve.x_is.to_owned()];
    for peer in &peers {
        let name = peer_name(*peer);
        header.extend([format!("{name} handshakes/s"), format!("{name} Typha µs")]);
        header.extend(memory.then(|| format!("{name} bytes/connection")));
    }
    let mut rows = vec![header];
    for point in &curve.points {
        let shared = if point.result.disjoint_cores { "" } else { " (shared)" };
        let mut row = vec![format!("{}{shared}", point.x)];
        for peer in &peers {
            let figures = [Figure::HandshakesPerSecond, Figure::TyphaCpuMicros];
            for figure in figures.into_iter().chain(memory.then_some(Figure::BytesPerIdleConnection)) {
                let peer = point.result.peer(*peer);
                row.push(peer.map_or_else(|| "-".to_owned(), |peer| cell(&point.result, peer, figure)));
            }
        }
        rows.push(row);
    }
    text.push_str(&grid(&rows));
    let mut limited = curve
        .points
        .iter()
        .flat_map(|point| point.result.peers.iter().map(|peer| limited_by_load(&point.result, peer)));
    if limited.any(|limited| limited) {
        text.push_str("  * limited by the load, compare CPU per handshake\n");
    }
    if curve.points.iter().any(|point| point.result.peers.iter().any(disturbed)) {
        text.push_str("  ! disturbed: somebody else had a part in it\n");
    }
    if curve.points.iter().any(|point| !point.result.disjoint_cores) {
        text.push_str("  (shared): both ends on the same cores\n");
    }
    text
}

fn targets(targets: &[Target]) -> String {
    let header = ["target", "wanted", "measured", ""].map(str::to_owned).to_vec();
    let rows = targets.iter().map(|target| {
        let sign = match target.bound {
            Bound::AtLeast => "≥",
            Bound::AtMost => "≤",
        };
        let amount = |value: f64| match target.unit {
            "bytes" => format!("{} {}", number(value), target.unit),
            unit => format!("{value:.2} {unit}").trim_end().to_owned(),
        };
        let verdict = match target.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unknown => target.unknown_because.unwrap_or("not measured"),
        };
        let by_cpu = if target.by_cpu { " (by CPU)" } else { "" };
        vec![
            format!("{}: {}", target.work, target.what),
            format!("{sign} {}", amount(target.limit)),
            target.measured.map_or_else(|| "-".to_owned(), amount),
            format!("{verdict}{by_cpu}"),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut text = format!("targets\n{}", grid(&rows));
    if targets.iter().any(|target| target.by_cpu) {
        text.push_str(
            "  (by CPU): the load was the limit, and Typha's CPU per handshake stands for handshakes/s\n",
        );
    }
    text
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "machine: {}, {} core(s), Linux {}; {:.1} s\n",
        machine.cpu, machine.cores, machine.kernel, report.seconds_taken
    );
    for (peer, version) in &report.versions {
        let _ = writeln!(text, "{peer}: {version}");
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
