//! The machine that everything runs on, and what is made of several runs.

use std::time::Duration;

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How much of the machine, in percent, is in use while this bench does nothing.
pub(crate) fn busy(patient: bool) -> f64 {
    let mut found = 100.0;
    for _ in 0..120 {
        let before = ticks();
        std::thread::sleep(Duration::from_secs(1));
        let after = ticks();
        found = 100.0 * (1.0 - (after.0 - before.0) / (after.1 - before.1).max(1.0));
        if !patient || found < 33.0 {
            break;
        }
    }
    found
}

/// Idle and all ticks of all processors since the start (Linux).
fn ticks() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let numbers = text.lines().next().unwrap().split_whitespace().skip(1).map(|number| number.parse().unwrap());
    let numbers: Vec<f64> = numbers.take(8).collect();
    (numbers[3] + numbers[4], numbers.iter().sum())
}
