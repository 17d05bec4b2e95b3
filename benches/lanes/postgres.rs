//! `pgbench`, on the throw-away server.

use std::process::Command;
use std::time::Duration;

pub(crate) use crate::server::{Database, Server};

use crate::server::program;
use crate::ways::Measured;

const SCRIPT: &str = r"\set row random(0, ROWS - 1)
WITH u AS (UPDATE counters SET held = held + 1
  WHERE account_id = 'acct_0' || lpad(:row::text, 25, '0') AND id = 'ctr_0' || lpad(:row::text, 25, '0')
    AND held + spent + 1 <= ceiling RETURNING account_id, id)
INSERT INTO ledger_entries (account_id, sequence, id, kind, hold_id, counter_ids, currency, held_change, spent_change,
  description, at, previous_hash, hash)
SELECT account_id, nextval('bench_sequence'), 'led_06fgqhn2w5yxh0wq3r7v8m9n4k', 'hold', 'hold_06fgqhn2w5yxh0wq3r7v8m9n4k', id,
  'USD', 1, 0, 'a plan', 1800000000000000, '', '' FROM u;
";

/// The one-statement form. pgbench reports only means, so there are no percentiles.
pub(crate) fn pgbench(url: &str, rows: usize, callers: usize, time: Duration) -> Measured {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), SCRIPT.replace("ROWS", &rows.to_string())).unwrap();
    let seconds = time.as_secs_f64().ceil().to_string();
    let out = Command::new(program("pgbench"))
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &callers.to_string(), "-T", &seconds, "-f"])
        .arg(script.path())
        .arg(url)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let after =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split(' ').next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let rate = number(after("tps = "));
    let rate = rate.unwrap_or_else(|| panic!("pgbench: {text} {}", String::from_utf8_lossy(&out.stderr)));
    Measured { rate, p50: f64::NAN, p99: f64::NAN, max: f64::NAN }
}
