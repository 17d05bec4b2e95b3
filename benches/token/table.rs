//! How it is printed: medians of the rounds, and ratios that were taken within a round.

use crate::machine::median;

/// One run. Times in milliseconds; the server's processor time is that of one request.
pub(crate) struct Run {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
}

/// One round.
pub(crate) struct Pair {
    pub(crate) ours: Run,
    /// `None`: the peer is not there.
    pub(crate) other: Option<Run>,
}

/// The table's head.
pub(crate) fn begin(title: &str, what: &str, other: &str) {
    println!(
        "\n{title}; ms; CPU in µs of the server for each request\n\n\
         | {what} | connections | ours /s | {other} /s | × {other} | ours p50 | p99 | {other} p50 | p99 | ours CPU | {other} CPU |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
}

/// A line of it. Answers both rates.
pub(crate) fn row(name: &str, lines: usize, pairs: &[Pair]) -> (f64, Option<f64>) {
    let of = |pick: fn(&Run) -> f64| median(pairs.iter().map(|pair| pick(&pair.ours)));
    let others: Vec<(&Run, &Run)> =
        pairs.iter().filter_map(|pair| pair.other.as_ref().map(|other| (&pair.ours, other))).collect();
    let beside = |pick: fn(&Run, &Run) -> f64, digits: usize| match others.as_slice() {
        [] => "not there".to_owned(),
        some => format!("{:.digits$}", median(some.iter().map(|(ours, other)| pick(ours, other)))),
    };
    println!(
        "| {name} | {lines} | {:.0} | {} | {} | {:.2} | {:.2} | {} | {} | {:.0} | {} |",
        of(|run| run.rate),
        beside(|_, other| other.rate, 0),
        beside(|ours, other| ours.rate / other.rate, 2),
        of(|run| run.p50),
        of(|run| run.p99),
        beside(|_, other| other.p50, 2),
        beside(|_, other| other.p99, 2),
        of(|run| run.cpu * 1_000.0),
        beside(|_, other| other.cpu * 1_000.0, 0),
    );
    let other = (!others.is_empty()).then(|| median(others.iter().map(|(_, other)| other.rate)));
    (of(|run| run.rate), other)
}

/// The line after the lines of a name: the most that each side gave, with however many connections that was.
pub(crate) fn most(name: &str, rates: &[(f64, Option<f64>)]) {
    let ours = rates.iter().map(|(ours, _)| *ours).fold(0.0, f64::max);
    let other = rates.iter().filter_map(|(_, other)| *other).reduce(f64::max);
    let beside = other.map_or("not there |".to_owned(), |other| format!("{other:.0} | {:.2}", ours / other));
    println!("| {name} | the most | {ours:.0} | {beside} | | | | | | |");
}
