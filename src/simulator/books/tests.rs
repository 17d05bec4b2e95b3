use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

fn amount(minor: i64) -> Amount {
    Amount::from_minor(minor).unwrap()
}

fn promised(max: i64) -> Promised {
    Promised {
        iss: "http://issuer".into(),
        aud: "us".into(),
        sub: "ada".into(),
        jti: "ptok_1".into(),
        exp: NOW.seconds() + 3600,
        currency: Currency::USD,
        max_amount: amount(max),
        recurring: None,
    }
}

fn asked(reference: &str, minor: i64) -> Asked {
    Asked {
        payment_token: "token".into(),
        reference: reference.into(),
        amount: amount(minor),
        currency: Currency::USD,
        description: String::new(),
    }
}

#[test]
fn the_same_key_has_the_same_answer_and_reserves_once() {
    let mut books = Books::default();
    let first = books.authorize("k", &asked("hold_1", 900), Ok(promised(1000)), false, NOW).unwrap();
    books.capture(&first.id, amount(900), false, NOW).unwrap();
    let again = books.authorize("k", &asked("hold_1", 900), Ok(promised(1000)), false, NOW).unwrap();
    assert_eq!(first, again);
    assert_eq!(books.entries.len(), 1);
    let other = books.authorize("k", &asked("hold_1", 901), Ok(promised(1000)), false, NOW);
    assert_eq!(other, Err(Refused::KeyReused));
}

#[test]
fn a_refusal_is_kept_under_its_key_and_the_next_key_is_judged_anew() {
    let mut books = Books::default();
    let declined = books.authorize("hold_1-1", &asked("hold_1", 5), Ok(promised(10)), true, NOW);
    assert_eq!(declined, Err(Refused::Declined));
    assert_eq!(books.authorize("hold_1-1", &asked("hold_1", 5), Ok(promised(10)), false, NOW), declined);
    assert!(books.authorize("hold_1-2", &asked("hold_1", 5), Ok(promised(10)), false, NOW).is_ok());
}

#[test]
fn the_limit_counts_open_and_captured_and_nothing_that_was_given_back() {
    let mut books = Books::default();
    let first = books.authorize("1", &asked("a", 600), Ok(promised(1000)), false, NOW).unwrap();
    let refused = books.authorize("2", &asked("b", 401), Ok(promised(1000)), false, NOW);
    assert_eq!(refused, Err(Refused::LimitExceeded { left: 400 }));
    books.capture(&first.id, amount(100), false, NOW).unwrap();
    let second = books.authorize("3", &asked("c", 900), Ok(promised(1000)), false, NOW).unwrap();
    books.void(&second.id, NOW).unwrap();
    assert!(books.authorize("4", &asked("d", 900), Ok(promised(1000)), false, NOW).is_ok());
}

#[test]
fn a_monthly_limit_begins_anew_with_the_month_and_another_does_not() {
    let next = Period::month_of(NOW).end;
    let until = next.plus(TimeDelta::days(1)).seconds();
    for (recurring, fits) in [(Some(Recurring::Month), true), (None, false)] {
        let mut books = Books::default();
        let token = Promised { recurring, exp: until, ..promised(1000) };
        let first = books.authorize("1", &asked("a", 1000), Ok(token.clone()), false, NOW).unwrap();
        books.capture(&first.id, amount(1000), false, NOW).unwrap();
        assert_eq!(books.authorize("2", &asked("b", 1000), Ok(token), false, next).is_ok(), fits);
    }
}

#[test]
fn an_expired_or_revoked_token_authorizes_nothing_but_what_was_authorized_is_captured() {
    let mut books = Books::default();
    let open = books.authorize("1", &asked("a", 10), Ok(promised(1000)), false, NOW).unwrap();
    let late = NOW.plus(TimeDelta::seconds(3600));
    assert_eq!(books.authorize("2", &asked("b", 10), Ok(promised(1000)), false, late), Err(Refused::TokenExpired));
    books.revoke("ptok_1");
    assert_eq!(books.authorize("3", &asked("c", 10), Ok(promised(1000)), false, NOW), Err(Refused::TokenRevoked));
    assert_eq!(books.capture(&open.id, amount(10), false, late).unwrap().status, AuthorizationStatus::Captured);
}

#[test]
fn remarks_about_the_request_are_not_decisions() {
    let mut books = Books::default();
    let jpy = Asked { currency: "JPY".parse().unwrap(), ..asked("a", 10) };
    assert_eq!(books.authorize("1", &jpy, Ok(promised(1000)), false, NOW), Err(Refused::CurrencyMismatch));
    assert_eq!(books.authorize("1", &asked("a", 0), Ok(promised(1000)), false, NOW), Err(Refused::AmountInvalid));
    assert_eq!(books.authorize("1", &asked("a", 1), Err("no"), false, NOW), Err(Refused::TokenInvalid("no")));
    assert!(books.authorize("1", &asked("a", 10), Ok(promised(1000)), false, NOW).is_ok());
}

#[test]
fn what_can_follow_what() {
    let late = NOW.plus(GOOD_FOR);
    let open = |books: &mut Books| books.authorize("1", &asked("a", 10), Ok(promised(1000)), false, NOW).unwrap().id;

    let mut books = Books::default();
    let id = open(&mut books);
    assert_eq!(books.capture(&id, amount(11), false, NOW), Err(Refused::CaptureExceedsAuthorization));
    assert_eq!(books.capture(&id, Amount::ZERO, false, NOW), Err(Refused::AmountInvalid));
    let captured = books.capture(&id, amount(9), false, NOW).unwrap();
    assert_eq!(books.capture(&id, amount(9), false, late).unwrap(), captured);
    assert_eq!(books.capture(&id, amount(10), false, NOW), Err(Refused::AlreadyCaptured));
    assert_eq!(books.void(&id, NOW), Err(Refused::AlreadyCaptured));

    let mut books = Books::default();
    let id = open(&mut books);
    let voided = books.void(&id, NOW).unwrap();
    assert_eq!(books.void(&id, NOW).unwrap(), voided);
    assert_eq!(books.capture(&id, amount(10), false, NOW), Err(Refused::AlreadyVoided));

    let mut books = Books::default();
    let id = open(&mut books);
    assert_eq!(books.capture(&id, amount(10), false, late), Err(Refused::AuthorizationExpired));
    assert_eq!(books.lookup("us", "a", late)[0].status, AuthorizationStatus::Expired);
    assert_eq!(books.void("auth_unknown", NOW), Err(Refused::NotFound));
    assert!(books.lookup("us", "b", NOW).is_empty());
}

proptest! {
    /// Whatever the provider does, in whatever order, the token's limit stands.
    #[test]
    fn the_limit_is_never_passed(acts in prop::collection::vec((0_u8..3, 0_usize..8, 1_i64..500), 1..60)) {
        let mut books = Books::default();
        let mut ids = Vec::new();
        for (number, (act, which, minor)) in acts.into_iter().enumerate() {
            let id = ids.get(which).cloned().unwrap_or_default();
            match act {
                0 => {
                    let key = number.to_string();
                    if let Ok(made) = books.authorize(&key, &asked(&key, minor), Ok(promised(1000)), false, NOW) {
                        ids.push(made.id);
                    }
                }
                1 => drop(books.capture(&id, amount(minor), false, NOW)),
                _ => drop(books.void(&id, NOW)),
            }
            let totals = books.snapshot(NOW).totals.get("USD").copied().unwrap_or_default();
            prop_assert!(totals.open + totals.captured <= 1000);
        }
    }
}

#[test]
fn a_month_at_one_provider_ends_at_the_cap_whatever_the_tokens_allow() {
    let mut books = Books::default();
    books.cap("us", Some(vec![Cap { currency: Currency::USD, amount: amount(1000) }]));
    let token = |jti: &str, sub: &str| Promised { jti: jti.into(), sub: sub.into(), ..promised(900) };
    let first = books.authorize("1", &asked("a", 900), Ok(token("t1", "ada")), false, NOW).unwrap();
    let refused = books.authorize("2", &asked("b", 101), Ok(token("t2", "ada")), false, NOW);
    assert_eq!(refused, Err(Refused::CapExceeded { left: 100 }));
    assert!(books.authorize("3", &asked("c", 900), Ok(token("t3", "bo")), false, NOW).is_ok(), "of another user");
    books.void(&first.id, NOW).unwrap();
    assert!(books.authorize("4", &asked("d", 101), Ok(token("t2", "ada")), false, NOW).is_ok());
    assert_eq!(books.of("them", &first.id), Err(Refused::NotFound), "another seller's are as if they were not");
    let euro = Promised { currency: "EUR".parse().unwrap(), ..token("t5", "ada") };
    let asked_euro = Asked { currency: "EUR".parse().unwrap(), ..asked("e", 1) };
    assert_eq!(books.authorize("5", &asked_euro, Ok(euro), false, NOW), Err(Refused::CapExceeded { left: 0 }));
}

#[test]
fn a_file_brings_back_entries_answers_and_revocations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("books.db");
    let mut store = super::super::store::Store::open(&path).unwrap();
    let mut books = Books::default();
    let first = books.authorize("1", &asked("a", 600), Ok(promised(1000)), false, NOW);
    let refused = books.authorize("2", &asked("b", 600), Ok(promised(1000)), false, NOW);
    books.revoke("ptok_1");
    books.keep(&mut store).unwrap();
    drop(store);
    let mut store = super::super::store::Store::open(&path).unwrap();
    let mut again = Books::restore(&mut store).unwrap();
    assert_eq!(again.authorize("1", &asked("a", 600), Ok(promised(1000)), false, NOW), first);
    assert_eq!(again.authorize("2", &asked("b", 600), Ok(promised(1000)), false, NOW), refused);
    let third = again.authorize("3", &asked("c", 1), Ok(promised(1000)), false, NOW);
    assert_eq!(third, Err(Refused::TokenRevoked));
    assert_eq!(again.capture(&first.unwrap().id, amount(600), false, NOW).unwrap().captured, amount(600));
}
