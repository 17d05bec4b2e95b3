//! Attestations open accounts: once, whoever asks how often, and never by address.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::account::{self, AccountState};
use portreeve::attestation::EmailTrust;
use portreeve::authorization::{
    self, AccessError, Detail, DetailError, ExchangeError, ExchangeParts, ExchangeRequest, Exchanged, FamiliarPeople,
    OAuthError, Pricing, price_plans, verify_access_token,
};
use portreeve::clock::Timestamp;
use portreeve::db::schema::{accounts, assertion_uses, audit_facts, budgets, email_owners, grants, identity_links};
use portreeve::db::{Db, DbError, DbSettings};
use portreeve::orchestrator::{self, ExistingAccount, KeyCache, NewOrchestrator, Orchestrator};
use portreeve::signing::{KeyRing, MasterKey, Sealer};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::databases::TestDb;
use crate::harness::on_four_threads;
use crate::mock_issuer::{MockIssuer, fetch};

const ISSUER: &str = "http://127.0.0.1:1";
const API: &str = "http://127.0.0.1:1/v1";

fn start() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn later(seconds: i64) -> Timestamp {
    start().plus(TimeDelta::seconds(seconds))
}

/// A catalog without any plan.
struct NothingSold;

impl Pricing for NothingSold {
    fn price(&self, details: &mut [Detail]) -> Result<(), DetailError> {
        price_plans(details, |_, _| None, (1, "sha256:none"))
    }
}

/// The desk as two processes over one database would be.
struct Desk {
    one: Db,
    two: Db,
    keys: KeyCache,
    ring: KeyRing,
    sealer: Sealer,
    familiar: [FamiliarPeople; 2],
    _database: TestDb,
}

impl Desk {
    fn new(database: TestDb) -> Arc<Self> {
        let settings = DbSettings { lanes: 4, queue: 1024, ..database.settings().clone() };
        let master = MasterKey::generate().unwrap();
        Arc::new(Self {
            one: Db::open(&settings).unwrap(),
            two: Db::open(&settings).unwrap(),
            keys: KeyCache::new(fetch()),
            ring: KeyRing::generate().unwrap(),
            sealer: Sealer::new(&master, "answers").unwrap(),
            familiar: Default::default(),
            _database: database,
        })
    }

    async fn register(&self, issuer: &MockIssuer, change: impl FnOnce(&mut NewOrchestrator)) -> Orchestrator {
        let mut new = NewOrchestrator::new(issuer.url.parse().unwrap(), issuer.url.parse().unwrap(), "us");
        new.email_domains = vec!["example.com".parse().unwrap()];
        change(&mut new);
        self.one.write("registry", move |conn| orchestrator::add(conn, &new, start())).await.unwrap()
    }

    fn parts(&self, second: bool) -> ExchangeParts<'_> {
        let db = if second { &self.two } else { &self.one };
        ExchangeParts {
            db,
            keys: &self.keys,
            ring: &self.ring,
            sealer: &self.sealer,
            issuer: ISSUER,
            audience: API,
            accounts_per_hour: 0,
            prices: &NothingSold,
            familiar: &self.familiar[usize::from(second)],
        }
    }

    async fn exchange(&self, assertion: &str, now: Timestamp) -> Result<Exchanged, ExchangeError> {
        authorization::exchange(self.parts(false), request(assertion), now).await
    }

    /// How many rows each table has.
    async fn counts(&self) -> Counts {
        self.one
            .read(|conn| {
                Ok::<_, DbError>(Counts {
                    accounts: accounts::table.count().get_result(conn)?,
                    links: identity_links::table.count().get_result(conn)?,
                    owners: email_owners::table.count().get_result(conn)?,
                    budgets: budgets::table.count().get_result(conn)?,
                    uses: assertion_uses::table.count().get_result(conn)?,
                    grants: grants::table.count().get_result(conn)?,
                })
            })
            .await
            .unwrap()
    }

    async fn recorded(&self, action: &'static str) -> i64 {
        self.one
            .read(move |conn| {
                Ok::<_, DbError>(audit_facts::table.filter(audit_facts::action.eq(action)).count().get_result(conn)?)
            })
            .await
            .unwrap()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    accounts: i64,
    links: i64,
    owners: i64,
    budgets: i64,
    uses: i64,
    grants: i64,
}

fn request(assertion: &str) -> ExchangeRequest {
    ExchangeRequest {
        client: None,
        assertion: assertion.to_owned(),
        scope: None,
        resource: None,
        request_hash: "accounts".to_owned(),
        proof: None,
    }
}

fn claims(issuer: &MockIssuer, sub: &str, jti: &str, email: &str) -> Value {
    json!({
        "iss": issuer.url, "aud": "us", "sub": sub, "jti": jti, "iat": start().seconds(),
        "exp": start().seconds() + 600, "email": email, "email_verified": true,
    })
}

fn with(mut claims: Value, claim: &str, value: Value) -> Value {
    claims[claim] = value;
    claims
}

on_both! {
    async fn an_attestation_opens_a_provisional_account_with_a_ceiling_and_a_token_that_works(database: TestDb) {
        let desk = Desk::new(database);
        let issuer = MockIssuer::start().await;
        let known = desk
            .register(&issuer, |new| new.provisional_ceiling = portreeve::money::Amount::from_minor(2500).unwrap())
            .await;
        let given = desk.exchange(&issuer.sign(&claims(&issuer, "u1", "a", "Ada@Example.com")), start()).await.unwrap();
        assert!(given.opened && given.account.state == AccountState::Provisional);
        assert_eq!(given.account.email.as_deref(), Some("Ada@Example.com"));
        assert_eq!(given.account.email_trust, Some(EmailTrust::Verified));
        assert_eq!((given.expires_in, given.account.opened_by.clone()), (600, known.id.clone()));
        let (account_id, ceiling): (portreeve::ids::AccountId, portreeve::money::Amount) = desk
            .one
            .read(|conn| Ok::<_, DbError>(budgets::table.select((budgets::account_id, budgets::ceiling)).first(conn)?))
            .await
            .unwrap();
        assert_eq!((account_id, ceiling.minor()), (given.account.id.clone(), 2500));
        let token = verify_access_token(given.access_token.expose_secret(), &desk.ring, API, ISSUER, later(1)).unwrap();
        let access = desk.one.read(move |conn| authorization::access(conn, &token)).await.unwrap();
        assert_eq!((access.account, access.orchestrator), (given.account.clone(), known));
        // Another assertion about the same person: the same account.
        let again =
            desk.exchange(&issuer.sign(&claims(&issuer, "u1", "b", "ada@example.com")), later(5)).await.unwrap();
        assert!(!again.opened && again.account.id == given.account.id);
        let expected = Counts { accounts: 1, links: 1, owners: 1, budgets: 1, uses: 2, grants: 2 };
        assert_eq!(desk.counts().await, expected);
        assert_eq!(desk.recorded("account.opened").await, 1);
    }

    async fn the_same_request_gets_the_same_answer_for_30_seconds_and_anything_else_is_a_replay(database: TestDb) {
        let desk = Desk::new(database);
        let issuer = MockIssuer::start().await;
        desk.register(&issuer, |_| {}).await;
        let assertion = issuer.sign(&claims(&issuer, "u1", "a", "ada@example.com"));
        let first = desk.exchange(&assertion, start()).await.unwrap();
        let retry = desk.exchange(&assertion, later(30)).await.unwrap();
        assert_eq!(first.access_token.expose_secret(), retry.access_token.expose_secret());
        assert!(retry.opened && retry.account == first.account);
        assert!(matches!(desk.exchange(&assertion, later(31)).await, Err(ExchangeError::Replayed)));
        let mut other = request(&assertion);
        other.request_hash = "token".to_owned();
        let refused = authorization::exchange(desk.parts(true), other, later(1)).await.unwrap_err();
        assert_eq!(refused.oauth(), Some(OAuthError::InvalidGrant));
        // The same `jti` in another assertion.
        let second = issuer.sign(&claims(&issuer, "u2", "a", "eve@example.com"));
        assert!(matches!(desk.exchange(&second, later(1)).await, Err(ExchangeError::Replayed)));
        assert_eq!(desk.recorded("attestation.replayed").await, 3);
        assert_eq!(desk.counts().await.accounts, 1);
        // Without a `jti`, the assertion itself is the key.
        let mut unnamed = claims(&issuer, "u3", "", "bob@example.com");
        unnamed.as_object_mut().unwrap().remove("jti");
        let unnamed = issuer.sign(&unnamed);
        desk.exchange(&unnamed, start()).await.unwrap();
        assert!(matches!(desk.exchange(&unnamed, later(31)).await, Err(ExchangeError::Replayed)));
        // What is forgotten is what nobody would accept.
        let forgotten = desk.one.write("sweep", |conn| account::forget_uses(conn, later(300))).await.unwrap();
        assert_eq!(forgotten, 0);
        let forgotten = desk.one.write("sweep", |conn| account::forget_uses(conn, later(800))).await.unwrap();
        assert_eq!(forgotten, 2);
        assert!(matches!(desk.exchange(&unnamed, later(800)).await, Err(ExchangeError::Attestation(_))));
    }

    async fn sixty_four_parallel_copies_open_exactly_one_account_and_all_hear_the_same(database: TestDb) {
        on_four_threads(async move {
            let desk = Desk::new(database);
            let issuer = MockIssuer::start().await;
            desk.register(&issuer, |_| {}).await;
            let assertion = issuer.sign(&claims(&issuer, "u1", "a", "ada@example.com"));
            let copies = (0..64).map(|n| {
                let (desk, assertion) = (Arc::clone(&desk), assertion.clone());
                tokio::spawn(async move {
                    authorization::exchange(desk.parts(n % 2 == 0), request(&assertion), later(n % 3)).await
                })
            });
            let answers: Vec<Exchanged> = join_all(copies).await.into_iter().map(|copy| copy.unwrap().unwrap()).collect();
            let tokens: BTreeSet<_> = answers.iter().map(|answer| answer.access_token.expose_secret().to_owned()).collect();
            assert_eq!(tokens.len(), 1);
            assert!(answers.iter().all(|answer| answer.opened && answer.account.id == answers[0].account.id));
            let expected = Counts { accounts: 1, links: 1, owners: 1, budgets: 1, uses: 1, grants: 1 };
            assert_eq!(desk.counts().await, expected);
            assert_eq!(desk.recorded("attestation.replayed").await, 0);
        })
        .await;
    }

    async fn sixty_four_assertions_about_one_person_open_exactly_one_account(database: TestDb) {
        on_four_threads(async move {
            let desk = Desk::new(database);
            let issuer = MockIssuer::start().await;
            desk.register(&issuer, |_| {}).await;
            let all = (0..64).map(|n| {
                let desk = Arc::clone(&desk);
                let assertion = issuer.sign(&claims(&issuer, "u1", &format!("a{n}"), "ada@example.com"));
                tokio::spawn(
                    async move { authorization::exchange(desk.parts(n % 2 == 0), request(&assertion), start()).await },
                )
            });
            let answers: Vec<Exchanged> = join_all(all).await.into_iter().map(|one| one.unwrap().unwrap()).collect();
            assert_eq!(answers.iter().filter(|answer| answer.opened).count(), 1);
            assert!(answers.iter().all(|answer| answer.account.id == answers[0].account.id));
            let expected = Counts { accounts: 1, links: 1, owners: 1, budgets: 1, uses: 64, grants: 64 };
            assert_eq!(desk.counts().await, expected);
        })
        .await;
    }

    async fn of_many_people_with_one_new_address_exactly_one_gets_it(database: TestDb) {
        on_four_threads(async move {
            let desk = Desk::new(database);
            let issuer = MockIssuer::start().await;
            desk.register(&issuer, |_| {}).await;
            let all = (0..32).map(|n| {
                let desk = Arc::clone(&desk);
                let assertion = issuer.sign(&claims(&issuer, &format!("u{n}"), &format!("a{n}"), "ada@example.com"));
                tokio::spawn(
                    async move { authorization::exchange(desk.parts(n % 2 == 0), request(&assertion), start()).await },
                )
            });
            let answers: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
            for answer in answers {
                assert!(matches!(answer, Ok(_) | Err(ExchangeError::NeedsConsent)), "{answer:?}");
            }
            let counts = desk.counts().await;
            assert_eq!((counts.accounts, counts.links, counts.owners, counts.uses), (1, 1, 1, 32));
            assert_eq!(desk.recorded("account.identifier_collision").await, 31);
        })
        .await;
    }

    async fn an_address_that_has_an_account_never_links(database: TestDb) {
        let desk = Desk::new(database);
        let (first, second, sidecar) =
            (MockIssuer::start().await, MockIssuer::start().await, MockIssuer::start().await);
        desk.register(&first, |_| {}).await;
        desk.register(&second, |_| {}).await;
        desk.register(&sidecar, |new| new.existing_account = ExistingAccount::Sidecar).await;
        let owner = desk.exchange(&first.sign(&claims(&first, "u1", "a", "ada@example.com")), start()).await.unwrap();

        // Row 4: vouched for by an authority, consent wanted. The same answer again within 30 seconds; burnt after.
        let wanted = second.sign(&claims(&second, "u1", "a", "ADA@example.com"));
        for at in [start(), later(10)] {
            let refused = desk.exchange(&wanted, at).await.unwrap_err();
            assert!(matches!(refused, ExchangeError::NeedsConsent), "{refused}");
        }
        assert!(matches!(desk.exchange(&wanted, later(31)).await, Err(ExchangeError::Replayed)));
        // Row 8: the same issuer under another subject is another person.
        let collision = desk.exchange(&first.sign(&claims(&first, "u2", "b", "ada@example.com")), start()).await;
        assert!(matches!(collision, Err(ExchangeError::NeedsConsent)));
        assert_eq!(desk.recorded("account.identifier_collision").await, 1);
        assert_eq!(desk.counts().await.accounts, 1);

        // Row 4, sidecar: a separate account, which does not own the address.
        let beside =
            desk.exchange(&sidecar.sign(&claims(&sidecar, "u1", "a", "ada@example.com")), start()).await.unwrap();
        assert!(beside.opened && beside.account.id != owner.account.id);
        // Rows 6 and 7: weaker words get the same answer as for an unknown address, and nothing is found by the address.
        for (sub, email, verified) in [
            ("u3", "ada@example.com", json!(false)),
            ("u4", "ada@example.com", json!("true")),
            ("u5", "ada@example.com", json!(null)),
        ] {
            let weak = with(claims(&second, sub, sub, email), "email_verified", verified);
            let given = desk.exchange(&second.sign(&weak), start()).await.unwrap();
            assert!(given.opened && given.account.id != owner.account.id);
            assert_eq!((given.account.email.as_deref(), given.account.email_trust), (Some(email), Some(EmailTrust::Unverified)));
        }
        assert_eq!(desk.counts().await.owners, 1);
        let found = desk.one.read(|conn| account::with_address(conn, "ada@example.com", 9)).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|account| account.id).collect();
        assert_eq!(found, [owner.account.id.clone(), beside.account.id.clone()]);
        // The owner is still the owner.
        let again = desk.exchange(&first.sign(&claims(&first, "u1", "c", "ada@example.com")), later(1)).await.unwrap();
        assert_eq!(again.account.id, owner.account.id);
    }

    async fn weaker_words_about_an_unknown_address_open_accounts_with_that_trust(database: TestDb) {
        let desk = Desk::new(database);
        let issuer = MockIssuer::start().await;
        desk.register(&issuer, |_| {}).await;
        let unverified = with(claims(&issuer, "u1", "a", "ada@example.com"), "email_verified", json!(false));
        let elsewhere = claims(&issuer, "u2", "b", "ada@other.example");
        let look_alike = claims(&issuer, "u3", "c", "\u{430}da@example.com");
        let mut without = claims(&issuer, "u4", "d", "");
        without.as_object_mut().unwrap().remove("email");
        let mut trusts = Vec::new();
        for claims in [unverified, elsewhere, look_alike, without] {
            let given = desk.exchange(&issuer.sign(&claims), start()).await.unwrap();
            assert!(given.opened);
            trusts.push(given.account.email_trust);
        }
        let expected = [Some(EmailTrust::Unverified), Some(EmailTrust::Asserted), Some(EmailTrust::Verified), None];
        assert_eq!(trusts, expected);
        let counts = desk.counts().await;
        assert_eq!((counts.accounts, counts.owners), (4, 1));
        let details: Vec<String> = desk
            .one
            .read(|conn| Ok::<_, DbError>(audit_facts::table.select(audit_facts::detail).load(conn)?))
            .await
            .unwrap();
        assert_eq!(details.iter().filter(|detail| detail.contains("\"look_alike\":true")).count(), 1);
    }

    async fn a_person_is_issuer_tenant_and_subject_byte_for_byte(database: TestDb) {
        let desk = Desk::new(database);
        let (one, two) = (MockIssuer::start().await, MockIssuer::start().await);
        desk.register(&one, |_| {}).await;
        desk.register(&two, |_| {}).await;
        let mut ids = BTreeSet::new();
        let mut open = Vec::new();
        for (issuer, sub, tenant) in [
            (&one, "u1", None),
            (&two, "u1", None),
            (&one, "U1", None),
            (&one, "u1 ", None),
            (&one, "u1", Some("t1")),
            (&one, "u1", Some("t2")),
        ] {
            let mut claims = claims(issuer, sub, &format!("{sub}{tenant:?}"), "");
            if let Some(tenant) = tenant {
                claims["tenant"] = json!(tenant);
            }
            open.push(issuer.sign(&claims));
        }
        for assertion in open {
            let given = desk.exchange(&assertion, start()).await.unwrap();
            assert!(given.opened && ids.insert(given.account.id));
        }
    }

    async fn what_does_not_hold_burns_nothing(database: TestDb) {
        let desk = Desk::new(database);
        let (issuer, stranger) = (MockIssuer::start().await, MockIssuer::start().await);
        desk.register(&issuer, |_| {}).await;
        let good = claims(&issuer, "u1", "a", "ada@example.com");
        let forged = stranger.sign(&good);
        let elsewhere = issuer.sign(&with(good.clone(), "aud", json!("another-client")));
        let unregistered = stranger.sign(&claims(&stranger, "u1", "a", "ada@example.com"));
        for bad in [forged, elsewhere, unregistered, "a.b.c".to_owned()] {
            let refused = desk.exchange(&bad, start()).await.unwrap_err();
            assert_eq!(refused.oauth(), Some(OAuthError::InvalidGrant), "{refused}");
        }
        assert_eq!(desk.counts().await.uses, 0);
        assert!(desk.exchange(&issuer.sign(&good), start()).await.unwrap().opened);
    }

    async fn nothing_works_for_the_frozen_the_suspended_and_those_who_may_not_open(database: TestDb) {
        let desk = Desk::new(database);
        let (issuer, closed) = (MockIssuer::start().await, MockIssuer::start().await);
        let known = desk.register(&issuer, |_| {}).await;
        desk.register(&closed, |new| new.may_open_accounts = false).await;
        let refused = desk.exchange(&closed.sign(&claims(&closed, "u1", "a", "ada@example.com")), start()).await;
        assert!(matches!(refused, Err(ExchangeError::MayNotOpen)));

        let given = desk.exchange(&issuer.sign(&claims(&issuer, "u1", "a", "ada@example.com")), start()).await.unwrap();
        let token = verify_access_token(given.access_token.expose_secret(), &desk.ring, API, ISSUER, start()).unwrap();
        let access = |token| desk.one.read(move |conn| authorization::access(conn, &token));
        let id = known.id.clone();
        desk.one.write("x", move |conn| orchestrator::suspend(conn, &id, later(1))).await.unwrap();
        assert!(matches!(access(token.clone()).await, Err(AccessError::Suspended)));
        let refused = desk.exchange(&issuer.sign(&claims(&issuer, "u1", "b", "")), later(1)).await.unwrap_err();
        assert!(matches!(refused, ExchangeError::Attestation(_)));
        let id = known.id.clone();
        desk.one.write("x", move |conn| orchestrator::resume(conn, &id, later(2))).await.unwrap();
        assert!(access(token.clone()).await.is_ok());

        let id = given.account.id.clone();
        desk.one.write("x", move |conn| account::freeze(conn, &id, "operator", "test", later(3))).await.unwrap();
        assert!(matches!(access(token.clone()).await, Err(AccessError::Unusable("frozen"))));
        let refused = desk.exchange(&issuer.sign(&claims(&issuer, "u1", "c", "")), later(4)).await.unwrap_err();
        assert!(matches!(refused, ExchangeError::AccountUnusable(state) if state == "frozen"));

        let given = desk.exchange(&issuer.sign(&claims(&issuer, "u2", "d", "")), later(4)).await.unwrap();
        let token = verify_access_token(given.access_token.expose_secret(), &desk.ring, API, ISSUER, later(4)).unwrap();
        let grant = token.grant_id.clone();
        let revoked =
            move |conn: &mut portreeve::db::DbConnection| authorization::revoke(conn, &grant, "operator", later(5));
        assert!(desk.one.write("x", revoked.clone()).await.unwrap());
        assert!(!desk.one.write("x", revoked).await.unwrap());
        assert!(matches!(access(token).await, Err(AccessError::Revoked)));
    }

    async fn scope_and_resource_are_judged_before_anything_is_used(database: TestDb) {
        let desk = Desk::new(database);
        let issuer = MockIssuer::start().await;
        desk.register(&issuer, |_| {}).await;
        let assertion = issuer.sign(&claims(&issuer, "u1", "a", "ada@example.com"));
        let ask = |scope: Option<&str>, resource: Option<&str>| {
            let mut request = request(&assertion);
            request.scope = scope.map(str::to_owned);
            request.resource = resource.map(str::to_owned);
            authorization::exchange(desk.parts(false), request, start())
        };
        for scope in ["", "admin", "RESOURCES:READ"] {
            assert_eq!(ask(Some(scope), None).await.unwrap_err().oauth(), Some(OAuthError::InvalidScope));
        }
        for resource in ["", "http://127.0.0.1:1", "http://127.0.0.1:1/v1/", "https://other.example/v1"] {
            assert_eq!(ask(None, Some(resource)).await.unwrap_err().oauth(), Some(OAuthError::InvalidTarget));
        }
        let given = ask(Some("budget:read admin"), Some(API)).await.unwrap();
        assert_eq!(given.scopes.to_string(), "budget:read");
    }
}
