//! The same request at once has one effect too.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::super::answer::Answer;
use super::super::call::{Call, RESOURCES, resource_verb};
use super::super::case::{Case, Group::Races as G, Stop, Verdict, case, not_applicable};
use super::super::services::Service;
use super::super::session::Session;

const ACCOUNT: &str = "APP 0.1d, account request: losing a race on the e-mail is the existing-user answer";
const CREATION: &str = "APP 0.1d, creation: losing a race gives the winner's resource";
const ONCE: &str = "RFC 6749 §4.1.2; RFC 9700 §2.1.1";
const RULES: &str = "APP 0.1d, constraints, enforced by the provider too";
/// How many at once.
const AT_ONCE: usize = 8;

pub(super) const CASES: &[Case] = &[
    case(G, "races.account", "Eight requests of one new user open one account", ACCOUNT, |s| Box::pin(account(s))),
    case(G, "races.two-identities", "Two identities with one new e-mail do not share an account", ACCOUNT, |s| {
        Box::pin(two_identities(s))
    }),
    case(G, "races.create-same-key", "Eight creations under one key make one resource", CREATION, |s| {
        Box::pin(create(s, true))
    }),
    case(G, "races.create-same-content", "Eight creations without a key make one resource", CREATION, |s| {
        Box::pin(create(s, false))
    }),
    case(G, "races.code", "Of eight redemptions of one code one succeeds", ONCE, |s| Box::pin(code(s))),
    case(G, "races.refresh", "Of eight refreshes with one token at most one succeeds", ONCE, |s| Box::pin(refresh(s))),
    case(G, "races.rotate", "Rotations at once leave the resource whole", CREATION, |s| Box::pin(rotate(s))),
    case(G, "races.remove", "Removals at once remove once and break nothing", CREATION, |s| Box::pin(remove(s))),
    case(G, "races.remove-and-rotate", "A removal among rotations removes, or changes nothing", CREATION, |s| {
        Box::pin(remove_and_rotate(s))
    }),
    case(G, "races.at-most", "Creations at once do not pass the count", RULES, |s| Box::pin(at_most(s))),
];

/// All at once; none may break the provider.
async fn all(s: &Session, calls: Vec<Call>) -> Result<Vec<Answer>, Stop> {
    let answers = join_all(calls.into_iter().map(|call| s.send(call))).await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    for answer in &answers {
        answer.expect(answer.status < 500, "no 5xx, whoever wins")?;
    }
    Ok(answers)
}

fn last(answers: &[Answer]) -> Result<&Answer, Stop> {
    answers.last().map_or_else(|| not_applicable("nothing was sent"), Ok)
}

async fn account(s: &Session) -> Verdict {
    let (email, subject) = (s.fresh_email(), s.fresh_subject());
    let same = s.account_request(&email, &subject);
    // Where nobody attests who it is, only the same request is of the same user.
    let body = |_| if s.attests().is_ok() { s.account_request(&email, &subject) } else { same.clone() };
    let call = |body| Call::post(super::super::call::ACCOUNT_REQUESTS, &body);
    let answers = all(s, (0..AT_ONCE).map(body).map(call).collect()).await?;
    let mut accounts = BTreeSet::new();
    let mut codes = BTreeSet::new();
    for answer in answers.iter().filter(|answer| answer.succeeded()) {
        // The same request may be answered with the same code, which works once.
        if answer.text("/oauth/code").is_none_or(|code| codes.insert(code.to_owned())) {
            accounts.extend(s.let_in(answer, &email, &subject).await?.map(|party| party.account));
        }
    }
    if accounts.is_empty() && answers.iter().any(|answer| answer.kind() == Some("requires_auth")) {
        return not_applicable("the provider asks every new user to consent");
    }
    last(&answers)?.expect(accounts.len() == 1, "one account for all of them")
}

async fn two_identities(s: &Session) -> Verdict {
    if s.options.allow_silent_link {
        return not_applicable("the provider is said to link without asking (--allow-silent-link)");
    }
    let email = s.fresh_email();
    let subjects: Vec<_> = (0..AT_ONCE).map(|_| s.fresh_subject()).collect();
    let call = |subject: &String| Call::post(super::super::call::ACCOUNT_REQUESTS, &s.account_request(&email, subject));
    let answers = all(s, subjects.iter().map(call).collect()).await?;
    let (mut parties, mut accounts) = (0, BTreeSet::new());
    for (answer, subject) in answers.iter().zip(&subjects) {
        if answer.succeeded()
            && let Some(party) = s.let_in(answer, &email, subject).await?
        {
            parties += 1;
            accounts.insert(party.account);
        }
    }
    last(&answers)?.expect(accounts.len() == parties, "an account of their own for each that was let in")
}

async fn create(s: &Session, with_key: bool) -> Verdict {
    let service = s.usable().await?;
    if !service.needs_parent().is_empty() || !service.can_be_free() {
        return not_applicable("the usable service needs a parent or payment");
    }
    let party = s.open().await?;
    let (body, key) = (s.create_body(service, &party), s.name());
    let call = |_| {
        let call = Call::post(RESOURCES, &body).bearer(&party.access);
        if with_key { call.key(&key) } else { call }
    };
    let answers = all(s, (0..AT_ONCE).map(call).collect()).await?;
    let made: BTreeSet<_> =
        answers.iter().filter(|answer| answer.succeeded()).filter_map(|answer| answer.text("/id")).collect();
    last(&answers)?.expect(made.len() == 1, "one resource, however many answers")
}

async fn code(s: &Session) -> Verdict {
    let code = s.code().await?;
    let answers = all(s, (0..AT_ONCE).map(|_| s.exchange(&code)).collect()).await?;
    let won = answers.iter().filter(|answer| answer.succeeded()).count();
    last(&answers)?.expect(won == 1, "one success")
}

async fn refresh(s: &Session) -> Verdict {
    let (_, token) = s.refreshable().await?;
    let answers = all(s, (0..AT_ONCE).map(|_| s.refresh(&token)).collect()).await?;
    let won = answers.iter().filter(|answer| answer.succeeded()).count();
    last(&answers)?.expect(won <= 1, "at most one success")
}

async fn rotate(s: &Session) -> Verdict {
    let made = s.made().await?;
    let rotation = || Call::post(resource_verb(&made.id, "rotate_credentials"), &json!({})).bearer(&made.party.access);
    // Eight rotations, not one that is repeated.
    let call = |_| rotation().key(&s.name());
    let answers = all(s, (0..AT_ONCE).map(call).collect()).await?;
    for answer in answers.iter().filter(|answer| answer.succeeded()) {
        answer.expect(answer.text("/id") == Some(&made.id), "the same resource")?;
    }
    s.read(&made).await?.kind_is(&["complete", "pending"])
}

async fn remove(s: &Session) -> Verdict {
    let made = s.made().await?;
    let call = |_| Call::post(resource_verb(&made.id, "remove"), &json!({})).bearer(&made.party.access);
    let answers = all(s, (0..AT_ONCE).map(call).collect()).await?;
    let removed = answers.iter().any(|answer| matches!(answer.kind(), Some("removed" | "pending_removal")));
    last(&answers)?.expect(removed, "at least one that says `removed`")?;
    let read = s.read(&made).await?;
    read.expect(read.kind() != Some("complete"), "a resource that is gone")
}

async fn remove_and_rotate(s: &Session) -> Verdict {
    let made = s.made().await?;
    let call = |at: usize| {
        let verb = if at == 2 { "remove" } else { "rotate_credentials" };
        Call::post(resource_verb(&made.id, verb), &json!({})).bearer(&made.party.access).key(&s.name())
    };
    let answers = all(s, (0..AT_ONCE).map(call).collect()).await?;
    let removed = answers.iter().any(|answer| matches!(answer.kind(), Some("removed" | "pending_removal")));
    let read = s.read(&made).await?;
    if !removed {
        // Refused while a rotation ran: then it is whole, and the next removal removes it.
        read.kind_is(&["complete"])?;
        let again = Call::post(resource_verb(&made.id, "remove"), &json!({})).bearer(&made.party.access);
        s.send(again.key(&s.name())).await?.kind_is(&["removed", "pending_removal"])?;
    }
    let read = s.read(&made).await?;
    read.expect(read.kind() != Some("complete"), "a resource that stays gone")
}

async fn at_most(s: &Session) -> Verdict {
    let wanted = |service: &Service| {
        service.can_be_free() && service.needs_parent().is_empty() && service.at_most().is_some_and(|most| most <= 4)
    };
    let service = s.service_with(wanted, "that is free, stands alone and has a count of at most 4").await?;
    let most = service.at_most().and_then(|most| usize::try_from(most).ok()).unwrap_or(1);
    let party = s.open().await?;
    let project = s.name();
    let call = |_| {
        let mut body = s.create_body(service, &party);
        body["project_id"] = json!(project);
        Session::create(&body, &party, &s.name())
    };
    let answers = all(s, (0..AT_ONCE).map(call).collect()).await?;
    let made: BTreeSet<_> =
        answers.iter().filter(|answer| answer.succeeded()).filter_map(|answer| answer.text("/id")).collect();
    last(&answers)?.expect(!made.is_empty() && made.len() <= most, format!("1 to {most} resources"))
}
