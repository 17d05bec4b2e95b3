//! The stacked bar under the sentence: spent, held, free, and where the course leads. All in thousandths of the cap.

use crate::money::Amount;

/// Below this a part that is not nothing could not be seen.
const THINNEST: i64 = 6;

/// Widths and places in tenths of a percent, `0..=1000`, from the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CapBar {
    spent: i64,
    held: i64,
    course: Option<i64>,
}

impl CapBar {
    pub(super) fn of(spent: Amount, held: Amount, cap: Amount, course: Option<Amount>) -> Self {
        let spent = visible(share(spent, cap), spent);
        let held = visible(share(held, cap), held).min(1000 - spent);
        Self { spent, held, course: course.map(|course| share(course, cap).min(998)) }
    }

    pub(super) fn spent(self) -> String {
        percent(self.spent)
    }

    pub(super) fn held(self) -> String {
        percent(self.held)
    }

    pub(super) fn course(self) -> Option<String> {
        self.course.map(percent)
    }
}

/// `part` of `whole` in thousandths, at most 1000. Of nothing, anything is all.
pub(super) fn share(part: Amount, whole: Amount) -> i64 {
    if part == Amount::ZERO {
        return 0;
    }
    if whole == Amount::ZERO {
        return 1000;
    }
    let exact = i128::from(part.minor()) * 1000 / i128::from(whole.minor());
    i64::try_from(exact).unwrap_or(1000).min(1000)
}

fn visible(share: i64, of: Amount) -> i64 {
    if of == Amount::ZERO { 0 } else { share.max(THINNEST) }
}

/// `412` → `41.2%`.
pub(super) fn percent(thousandths: i64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn minor(minor: i64) -> Amount {
        Amount::from_minor(minor).unwrap()
    }

    #[test]
    fn the_parts_are_shares_of_the_cap() {
        let bar = CapBar::of(minor(4_120), minor(900), minor(10_000), Some(minor(7_800)));
        assert_eq!((bar.spent(), bar.held(), bar.course().unwrap()), ("41.2%".into(), "9.0%".into(), "78.0%".into()));
    }

    proptest! {
        #[test]
        fn the_parts_never_pass_the_end(spent in 0..i64::MAX, held in 0..i64::MAX, cap in 0..i64::MAX) {
            let bar = CapBar::of(minor(spent), minor(held), minor(cap), Some(minor(held)));
            prop_assert!(bar.spent >= 0 && bar.held >= 0 && bar.spent + bar.held <= 1000);
            prop_assert!((0..=998).contains(&bar.course.unwrap()));
        }
    }
}
