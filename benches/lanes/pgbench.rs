//! The hold as `pgbench` writes it.

use std::time::Duration;

use crate::peer::postgres;
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

/// The one-statement form.
pub(crate) fn pgbench(url: &str, rows: usize, callers: usize, time: Duration) -> Measured {
    let rate = postgres::pgbench(url, &SCRIPT.replace("ROWS", &rows.to_string()), callers, time);
    Measured { rate, p50: f64::NAN, p99: f64::NAN, max: f64::NAN }
}
