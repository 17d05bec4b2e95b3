//! Who somebody is, over HTTP: the eight rows by which an attestation finds an account or does not, and every spelling of an
//! address or a name by which somebody could be taken for somebody else.

use std::collections::BTreeSet;

use diesel::prelude::*;
use portreeve::account;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, audit_facts, email_owners, identity_links, orchestrators};
use portreeve::ids::AccountId;
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::{IdTokenSpec, User};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::beside::{attests, authority};
use crate::harness::client::Answer;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A user with this subject and address, verified.
fn who(subject: &str, email: &str) -> User {
    User { subject: subject.to_owned(), email: email.to_owned(), ..user("x") }
}

async fn opens(app: &TestApp, spec: &IdTokenSpec) -> Answer {
    let token = app.simulator.mint_id_token(spec).unwrap();
    app.stranger().post("/v1/accounts", &json!({"id_token": token})).await
}

fn id_of(answer: &Answer) -> String {
    answer.json()["account"]["id"].as_str().unwrap().to_owned()
}

/// What is kept of an account's address: as written, its index, its trust.
async fn kept(app: &TestApp, id: &str) -> (Option<String>, Option<String>, String) {
    let id: AccountId = id.parse().unwrap();
    let found = app.app().db.read(move |conn| {
        let columns = (accounts::email, accounts::email_index, accounts::email_trust);
        Ok::<_, DbError>(accounts::table.find(id).select(columns).first(conn)?)
    });
    found.await.unwrap()
}

/// How the opening of an account was noted.
async fn opening(app: &TestApp, id: &str) -> Value {
    let id: AccountId = id.parse().unwrap();
    let found = app.app().db.read(move |conn| {
        let of =
            audit_facts::table.filter(audit_facts::account_id.eq(id)).filter(audit_facts::action.eq("account.opened"));
        Ok::<_, DbError>(of.select(audit_facts::detail).first::<String>(conn)?)
    });
    serde_json::from_str(&found.await.unwrap()).unwrap()
}

async fn collisions(app: &TestApp) -> i64 {
    let counted = app.app().db.read(|conn| {
        let of = audit_facts::table.filter(audit_facts::action.eq("account.identifier_collision"));
        Ok::<_, DbError>(of.count().get_result(conn)?)
    });
    counted.await.unwrap()
}

async fn links(app: &TestApp) -> i64 {
    let counted = app.app().db.read(|conn| Ok::<_, DbError>(identity_links::table.count().get_result(conn)?));
    counted.await.unwrap()
}

/// The orchestrator is an authority over these domains.
async fn vouches_for(app: &TestApp, domains: &'static str) {
    let id = app.orchestrator.id.clone();
    let set = app.app().db.write(HOUSE, move |conn| {
        let row = orchestrators::table.find(&id);
        Ok::<_, DbError>(diesel::update(row).set(orchestrators::email_domains.eq(&domains)).execute(conn)?)
    });
    set.await.unwrap();
}

on_both! {
    async fn row_1_a_link_to_an_account_in_use_is_used_whatever_the_address_says(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let bob = app.agent_of(&user("bob")).await;
        for email in ["ada@example.test", "bob@example.test", "new@example.test", "no address"] {
            let again = opens(&app, &IdTokenSpec::of(&who(&ada.user.subject, email))).await.expect_status(200);
            assert_eq!(id_of(&again), ada.account, "{email}");
        }
        assert_eq!((links(&app).await, kept(&app, &bob.account).await.0.as_deref()), (2, Some("bob@example.test")));
        app.stop().await;
    }

    async fn row_2_a_link_to_a_frozen_account_is_refused_with_a_page_that_says_what_to_do(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (id, now) = (ada.account.parse().unwrap(), app.now());
        let frozen = app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "disputed", now));
        frozen.await.unwrap();
        let refused = opens(&app, &IdTokenSpec::of(&ada.user)).await.problem(403, "account_unusable");
        let page = refused["error_uri"].as_str().unwrap();
        let token = app.id_token(&ada.user);
        let form = app.stranger().post_form("/oauth/token", &[("grant_type", JWT_BEARER), ("assertion", &token)]).await;
        assert_eq!((form.status(), &form.json()["error"], &form.json()["error_uri"]), (400, &json!("invalid_grant"), &json!(page)));
        let path = page.strip_prefix(&app.base).unwrap();
        app.stranger().get(path).await.expect_status(200);
        assert_eq!(links(&app).await, 1);
        app.stop().await;
    }

    async fn row_3_nobody_has_the_address_so_a_provisional_account_is_opened_where_the_issuer_may(db: TestDb) {
        let app = TestApp::start(&db).await;
        let opened = opens(&app, &IdTokenSpec::of(&who("u1", "Ada@Example.test"))).await.expect_status(201);
        assert_eq!(opened.json()["account"]["state"], "provisional");
        let id = id_of(&opened);
        let (email, index, trust) = kept(&app, &id).await;
        assert_eq!((email.as_deref(), index.as_deref(), trust.as_str()), (Some("Ada@Example.test"), Some("ada@example.test"), "verified"));
        let known = app.orchestrator.id.clone();
        let closed = app.app().db.write(HOUSE, move |conn| {
            let row = orchestrators::table.find(&known);
            Ok::<_, DbError>(diesel::update(row).set(orchestrators::may_open_accounts.eq(false)).execute(conn)?)
        });
        closed.await.unwrap();
        for email in ["bob@example.test", "ada@example.test"] {
            opens(&app, &IdTokenSpec::of(&who("u2", email))).await.problem(403, "account_unusable");
        }
        assert_eq!(links(&app).await, 1);
        app.stop().await;
    }

    async fn row_4_the_same_address_never_links_its_owner_is_asked_or_a_separate_account_is_opened(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (asks, _) = authority(&app, "Asks", ExistingAccount::UserConsent).await;
        let (beside, _) = authority(&app, "Beside", ExistingAccount::Sidecar).await;
        let refused = attests(&app, &asks, &User::ada()).await.problem(403, "consent_needed");
        assert!(refused["error_uri"].as_str().unwrap().ends_with("/consent/needed"));
        assert_eq!(links(&app).await, 1, "only the owner writes a link");
        let separate = id_of(&attests(&app, &beside, &User::ada()).await.expect_status(201));
        assert_ne!(separate, ada.account);
        assert_eq!(kept(&app, &separate).await, (Some("ada@example.test".to_owned()), Some("ada@example.test".to_owned()), "verified".to_owned()));
        let owners = app.app().db.read(|conn| Ok::<_, DbError>(email_owners::table.select(email_owners::account_id).load::<String>(conn)?));
        assert_eq!(owners.await.unwrap(), std::slice::from_ref(&ada.account), "the address is still hers alone");
        // The owner's account may be known by an address that nobody verified: it is asked about all the same.
        opens(&app, &IdTokenSpec::of(&who("u9", "zoe@example.test")).claim("email_verified", json!(false))).await.expect_status(201);
        let (second, _) = authority(&app, "Second", ExistingAccount::UserConsent).await;
        attests(&app, &second, &who("u9", "zoe@example.test")).await.problem(403, "consent_needed");
        assert_eq!(collisions(&app).await, 0, "other issuers know other people");
        app.stop().await;
    }

    async fn row_5_an_address_that_only_looks_the_same_is_somebody_else_and_is_flagged(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let other = id_of(&opens(&app, &IdTokenSpec::of(&who("u2", "\u{430}da@example.test"))).await.expect_status(201));
        assert_ne!(other, ada.account);
        assert_eq!(opening(&app, &other).await["look_alike"], true);
        assert_eq!(opening(&app, &ada.account).await["look_alike"], false);
        app.stop().await;
    }

    async fn row_6_an_address_that_is_not_literally_verified_opens_without_any_trust_in_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        for (subject, verified) in [("u1", json!("true")), ("u2", json!(false)), ("u3", Value::Null)] {
            for (at, email) in ["new@example.test", "ada@example.test"].into_iter().enumerate() {
                let subject = format!("{subject}-{at}");
                let spec = IdTokenSpec::of(&who(&subject, email)).claim("email_verified", verified.clone());
                let id = id_of(&opens(&app, &spec).await.expect_status(201));
                assert_eq!(kept(&app, &id).await.2, "unverified", "{verified}");
                // Of an address that somebody has, nothing finds this account.
                assert!(at == 0 || kept(&app, &id).await.1.is_none());
            }
        }
        // A mail to the address opens the account of its owner, and none of these.
        let browser = crate::harness::browser::Browser::new(&app);
        browser.submits("/login", &[("email", "ada@example.test"), ("to", "")]).await.expect_status(200);
        let link = app.mailed_link(1).await;
        browser.submits(&link, &[]).await.expect_status(303);
        assert!(browser.get("/dashboard").await.text().contains("Harbour"));
        assert_eq!(kept(&app, &ada.account).await.2, "verified");
        app.stop().await;
    }

    async fn row_7_a_domain_that_the_issuer_is_no_authority_over_is_asserted_and_never_enough(db: TestDb) {
        let app = TestApp::start(&db).await;
        let asserted = id_of(&opens(&app, &IdTokenSpec::of(&who("u1", "eve@elsewhere.test"))).await.expect_status(201));
        assert_eq!(kept(&app, &asserted).await.2, "asserted");
        // Whoever is an authority there meets it as any account; this word alone met nobody's.
        app.agent().await;
        vouches_for(&app, "other.test").await;
        let weak = id_of(&opens(&app, &IdTokenSpec::of(&who("u2", "ada@example.test"))).await.expect_status(201));
        assert_eq!((kept(&app, &weak).await.1, kept(&app, &weak).await.2.as_str()), (None, "asserted"));
        for near in ["ada@sub.other.test", "ada@nother.test", "ada@other.test.evil.test"] {
            let id = id_of(&opens(&app, &IdTokenSpec::of(&who(near, near))).await.expect_status(201));
            assert_eq!(kept(&app, &id).await.2, "asserted", "{near}");
        }
        app.stop().await;
    }

    async fn row_8_the_same_address_under_another_subject_is_another_person_and_a_collision(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        opens(&app, &IdTokenSpec::of(&who("u2", "ada@example.test"))).await.problem(403, "consent_needed");
        assert_eq!((collisions(&app).await, links(&app).await), (1, 1));
        let unsure = IdTokenSpec::of(&who("u3", "ada@example.test")).claim("email_verified", json!(false));
        let other = id_of(&opens(&app, &unsure).await.expect_status(201));
        assert!(other != ada.account && collisions(&app).await == 2);
        let (id, now) = (app.orchestrator.id.clone(), app.now());
        let beside = app.app().db.write(HOUSE, move |conn| {
            portreeve::orchestrator::set_existing_account(conn, &id, ExistingAccount::Sidecar, now)
        });
        beside.await.unwrap();
        let other = id_of(&opens(&app, &IdTokenSpec::of(&who("u4", "ada@example.test"))).await.expect_status(201));
        assert!(other != ada.account && collisions(&app).await == 3);
        app.stop().await;
    }

    async fn every_spelling_of_an_address_is_the_same_one_another_one_or_none(db: TestDb) {
        #[derive(Debug, PartialEq)]
        enum Is {
            /// Its owner is asked.
            Same,
            /// Somebody else.
            Other,
            /// Somebody else who looks the same.
            LookAlike,
            /// No address that is kept.
            None,
        }
        let app = TestApp::start(&db).await;
        vouches_for(&app, "example.test xn--bcher-kva.test xn--strae-oqa.test strasse.test").await;
        for (at, owner) in [
            "mike@example.test", "mise@example.test", "strasse@example.test", "am\u{e9}lie@example.test", "mike@b\u{fc}cher.test",
            "mike@strasse.test", "fin@example.test", "ab@example.test",
        ].into_iter().enumerate() {
            opens(&app, &IdTokenSpec::of(&who(&format!("owner-{at}"), owner))).await.expect_status(201);
        }
        let long = format!("{}@{}.test", "a".repeat(64), "b.".repeat(93));
        let longer = format!("a{long}");
        let local = format!("{}@example.test", "a".repeat(65));
        for (email, is) in [
            ("MIKE@EXAMPLE.TEST", Is::Same),
            // No mail could be sent to these spellings.
            ("mike@example.test.", Is::None),
            ("ame\u{301}lie@example.test", Is::None),
            ("mike@xn--bcher-kva.test", Is::Same),
            ("mike@B\u{dc}CHER.test", Is::Same),
            ("mike@\u{ff45}xample.test", Is::Same),
            ("m\u{131}ke@example.test", Is::LookAlike),
            ("m\u{456}ke@example.test", Is::LookAlike),
            ("mike@\u{435}xample.test", Is::LookAlike),
            ("mise@xn--xample-2of.test", Is::LookAlike),
            ("m\u{130}ke@example.test", Is::Other),
            ("mi\u{17f}e@example.test", Is::Other),
            ("stra\u{df}e@example.test", Is::Other),
            ("mike@stra\u{df}e.test", Is::Other),
            ("mike+tag@example.test", Is::Other),
            ("m.ike@example.test", Is::Other),
            ("am\u{c9}lie@example.test", Is::Other),
            ("mi\u{212a}e@example.test", Is::None),
            ("mike\u{ff20}example.test", Is::None),
            ("\u{ff4d}ike@example.test\0", Is::None),
            ("\"mike\"@example.test", Is::None),
            ("\"a@b\"@example.test", Is::None),
            ("a@b@example.test", Is::None),
            ("mike @example.test", Is::None),
            ("mike\u{200b}@example.test", Is::None),
            ("mike\r\n@example.test", Is::None),
            ("mi(c)ke@example.test", Is::None),
            (".mike@example.test", Is::None),
            ("mike@example.test..", Is::None),
            ("mike@[127.0.0.1]", Is::None),
            ("", Is::None),
            (&longer, Is::None),
            (&local, Is::None),
        ] {
            let subject = format!("guest-{}", portreeve::secret::sha256_base64url(email.as_bytes()));
            let answer = opens(&app, &IdTokenSpec::of(&who(&subject, email))).await;
            if answer.status() == 401 {
                // Not even a token: no reader takes such a text.
                assert_eq!(is, Is::None, "{email:?}");
                continue;
            }
            if answer.status() == 403 {
                answer.problem(403, "consent_needed");
                assert_eq!(is, Is::Same, "{email:?}");
                continue;
            }
            let id = id_of(&answer.expect_status(201));
            let (written, index, _) = kept(&app, &id).await;
            let found = match (&index, opening(&app, &id).await["look_alike"] == true) {
                (None, _) => Is::None,
                (Some(_), true) => Is::LookAlike,
                (Some(_), false) => Is::Other,
            };
            assert_eq!(found, is, "{email:?}: {index:?}");
            assert!(written.is_none_or(|written| written == email), "mail goes to the spelling that was asserted");
        }
        app.stop().await;
    }

    async fn a_claim_of_another_form_is_less_trust_or_no_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.agent().await;
        for (at, (claim, value, status)) in [
            ("email", json!(["ada@example.test"]), 401),
            ("email", json!({"value": "ada@example.test"}), 401),
            ("email", json!(1), 401),
            ("email_verified", json!(1), 401),
            ("email_verified", json!([true]), 401),
            ("email_verified", json!("true"), 201),
            ("email_verified", Value::Null, 201),
        ].into_iter().enumerate() {
            let spec = IdTokenSpec::of(&who(&format!("u{at}"), "ada@example.test")).claim(claim, value.clone());
            let answer = opens(&app, &spec).await;
            assert_eq!(answer.status(), status, "{claim}: {value} {}", answer.text());
            if status == 201 {
                assert_eq!(kept(&app, &id_of(&answer)).await.2, "unverified", "{claim}: {value}");
            }
        }
        app.stop().await;
    }

    async fn a_person_is_the_issuer_the_tenant_and_the_subject_byte_for_byte(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (other, _) = authority(&app, "Other", ExistingAccount::Sidecar).await;
        let (long, longer) = ("s".repeat(255), "s".repeat(256));
        let mut ids = BTreeSet::new();
        for subject in ["twin", "Twin", "TWIN", "twin ", " twin", "tw\u{456}n", "tw i n", "\u{130}", "i\u{307}", &long] {
            let spec = IdTokenSpec::of(&who(subject, "")).claim("email", Value::Null);
            assert!(ids.insert(id_of(&opens(&app, &spec).await.expect_status(201))), "{subject:?}");
        }
        for subject in ["", "tw\0in", "tw\nin", "tw\u{7f}in", "tw\u{85}in", &longer] {
            let spec = IdTokenSpec::of(&who(subject, "")).claim("email", Value::Null);
            assert_eq!(opens(&app, &spec).await.status(), 401, "{subject:?}");
        }
        for tenant in ["t1", "T1", "t2"] {
            let of = User { tenant: Some(tenant.to_owned()), ..who("twin", "") };
            assert!(ids.insert(id_of(&opens(&app, &IdTokenSpec::of(&of)).await.expect_status(201))), "{tenant}");
        }
        assert!(ids.insert(id_of(&attests(&app, &other, &who("twin", "")).await.expect_status(201))), "another issuer");
        // The same again is the same.
        let again = opens(&app, &IdTokenSpec::of(&who("twin", "")).claim("email", Value::Null)).await.expect_status(200);
        assert!(ids.contains(&id_of(&again)));
        let count = i64::try_from(ids.len()).unwrap();
        // An issuer is written as it is registered, or it is another one.
        let issuer = app.simulator.issuer_url.clone();
        for unlike in [format!("{issuer}/"), issuer.to_uppercase(), format!("{issuer}?"), format!(" {issuer}")] {
            let spec = IdTokenSpec::of(&who("twin", "")).claim("iss", json!(unlike));
            assert_eq!(opens(&app, &spec).await.status(), 401, "{unlike}");
        }
        assert_eq!(links(&app).await, count);
        app.stop().await;
    }

    async fn aliases_and_look_alikes_of_one_address_are_limited_together(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.orchestrator_accounts_per_hour", "4")]).await;
        for (at, email) in ["ada@example.test", "ada+a@example.test", "ada+b@example.test", "\u{430}da@example.test"].into_iter().enumerate() {
            opens(&app, &IdTokenSpec::of(&who(&format!("u{at}"), email))).await.expect_status(201);
        }
        let refused = opens(&app, &IdTokenSpec::of(&who("u9", "ada+c@example.test"))).await;
        assert_eq!((refused.status(), refused.has_header("retry-after")), (429, true), "{}", refused.text());
        app.stop().await;
    }
}
