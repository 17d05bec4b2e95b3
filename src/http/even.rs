//! Answers about people leave at even times, so that how long it took to find or open an account tells nobody whether there
//! was one.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Longer than opening an account takes, whichever way, on a disk that is not slow; short beside a human.
const STEP: Duration = Duration::from_millis(25);

/// When the work on an answer began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Even(Instant);

impl Even {
    /// Now.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits for the end of the step in which the work ended: what takes 6 ms and what takes 7 leave at the same time.
    pub(crate) async fn leave(self) {
        sleep_until(self.0 + end_of_step(self.0.elapsed())).await;
    }
}

fn end_of_step(took: Duration) -> Duration {
    let whole = u32::try_from(took.as_micros() / STEP.as_micros()).unwrap_or(u32::MAX);
    STEP.saturating_mul(whole.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_different_times_within_a_step_leaves_at_its_end() {
        let at = |ms: u64| end_of_step(Duration::from_millis(ms)).as_millis();
        assert_eq!([at(0), at(1), at(6), at(24)], [25; 4]);
        assert_eq!([at(25), at(49), at(50)], [50, 50, 75]);
    }
}
