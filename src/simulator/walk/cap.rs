//! Stages 9 to 11: use it until the cap says no, see that it holds to the unit, and compare both sides' books.

use serde::Deserialize;

use super::super::BooksSnapshot;
use super::super::agent::Stopped;
use super::buy::Bought;
use super::money::{Budget, CapReached};
use super::{Walk, body, ensure, noted};
use crate::money::Amount;
use crate::secret::Secret;

/// More calls than any cap of a demo allows.
const MOST_CALLS: u32 = 10_000;

/// The most ledger pages that are read.
const MOST_PAGES: u32 = 100;

#[derive(Deserialize)]
struct LedgerPage {
    data: Vec<LedgerEntry>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct LedgerEntry {
    spent_change: i64,
}

impl Walk<'_> {
    pub(super) async fn use_until_the_cap(&mut self, token: &Secret, bought: &Bought) -> Result<Budget, Stopped> {
        self.agent.stage();
        let refused = self.call_until_refused(bought).await?;
        // What is left still buys something smaller: up to the cap, and not one unit beyond.
        let fits = u128::from(self.options.batch) * units(refused.remaining) / units(refused.needed).max(1);
        if let Ok(fits @ 1..) = u64::try_from(fits) {
            let ask = self.weather(fits).bearer(&bought.api_key);
            self.agent.take(ask, |_| noted("what is left is enough for this")).await?;
        }
        self.budget(token).await
    }

    /// Calls the metered API again and again; the good calls are one step, the refusal another.
    async fn call_until_refused(&mut self, bought: &Bought) -> Result<CapReached, Stopped> {
        let good = self.weather(self.options.batch).bearer(&bought.api_key);
        let mut calls = (0_u32, 0_u64);
        let mut last_good = None;
        loop {
            let (answer, millis) = self.agent.send(&good).await;
            match answer {
                Ok(answer) if answer.status == 200 && calls.0 < MOST_CALLS => {
                    calls = (calls.0 + 1, calls.1 + millis);
                    last_good = Some(answer);
                }
                answer => {
                    if let Some(last) = last_good {
                        self.agent.record(&good, Ok(last), calls, |_| noted("used, metered, counted"))?;
                    }
                    let refused = good.expecting(402);
                    return self.agent.record(&refused, answer, (1, millis), cap_reached);
                }
            }
        }
    }

    pub(super) async fn buy_what_does_not_fit(&mut self, token: &Secret, bought: &Bought) -> Result<(), Stopped> {
        self.agent.stage();
        let ask = self.provision(token, "domain", "dot-dev", Some(&bought.payment_token)).expecting(402);
        self.agent.take(ask, cap_reached).await.map(drop)
    }

    pub(super) async fn compare_the_books(
        &mut self,
        token: &Secret,
        bought: &Bought,
        budget: &Budget,
    ) -> Result<(), Stopped> {
        self.agent.stage();
        self.add_up_the_ledger(token, budget).await?;
        let (ours, expected) = (bought.payment_token_id.clone(), bought.cost);
        let ask = self.at_orchestrator("GET", "/books", 200);
        let total = budget.money(expected);
        self.agent
            .take(ask, |answer| {
                let books: BooksSnapshot = body(answer)?;
                let entries = books.authorizations.iter().filter(|entry| entry.payment_token == ours);
                let (mut captured, mut open) = (0_i64, 0_i64);
                for entry in entries {
                    captured += entry.authorization.captured.minor();
                    if entry.authorization.status == super::super::AuthorizationStatus::Authorized {
                        open += entry.authorization.amount.minor();
                    }
                }
                ensure(open == 0, format!("the issuer still holds {open} minor units"))?;
                ensure(captured == expected.minor(), format!("the issuer's books say {captured} minor units"))?;
                noted(format!("the issuer's books agree: {total} captured"))
            })
            .await
    }

    /// Reads the whole ledger; its changes must add up to what the budget says is spent.
    async fn add_up_the_ledger(&mut self, token: &Secret, budget: &Budget) -> Result<(), Stopped> {
        let ask = |walk: &Self, cursor: Option<&str>| {
            let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            walk.at_provider("GET", &format!("/v1/ledger?limit=100{cursor}"), 200).bearer(token)
        };
        let first = ask(self, None);
        let (mut sum, mut entries) = (0_i64, 0_usize);
        let (mut pages, mut millis) = (0_u32, 0_u64);
        let mut next = first.clone();
        loop {
            let (answer, took) = self.agent.send(&next).await;
            (pages, millis) = (pages + 1, millis + took);
            let page = answer.as_ref().ok().filter(|answer| answer.status == 200).map(body::<LedgerPage>);
            if let Some(Ok(page)) = &page {
                entries += page.data.len();
                sum += page.data.iter().map(|entry| entry.spent_change).sum::<i64>();
                if let (Some(cursor), true) = (&page.next_cursor, pages < MOST_PAGES) {
                    next = ask(self, Some(cursor));
                    continue;
                }
            }
            let spent = budget.spent.minor();
            return self.agent.record(&first, answer, (pages, millis), |answer| {
                body::<LedgerPage>(answer)?;
                ensure(sum == spent, format!("the ledger adds up to {sum}, the budget says {spent}"))?;
                noted(format!("{entries} entries add up to {}", budget.money(budget.spent)))
            });
        }
    }
}

fn cap_reached(answer: &crate::fetch::Incoming) -> super::Judged<CapReached> {
    let refused: CapReached = body(answer)?;
    refused.check()?;
    let sentence = refused.sentence();
    Ok((refused, sentence))
}

fn units(amount: Amount) -> u128 {
    u128::try_from(amount.minor()).unwrap_or(0)
}
