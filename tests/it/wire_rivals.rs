//! Two orchestrators of one account: neither pays with, changes, sees the secrets of, or holds up the other.

use diesel::prelude::*;
use portreeve::account;
use portreeve::db::schema::{accounts, payment_tokens, resources, wire_resources};
use portreeve::db::{Backend, DbConnection, DbError};
use portreeve::idempotency::Keyed;
use portreeve::ids::{AccountId, ResourceId};
use portreeve::payment::token;
use portreeve::resource::{self, BuyError, Change, ChangeError, PayError, Purchase};
use portreeve::secret::Secret;
use secrecy::ExposeSecret as _;
use serde_json::{Map, json};

use crate::harness::app::{TestApp, fresh_key};
use crate::harness::databases::{self, TestDb};
use crate::harness::tenant::{Rival, Tenant, UNLIMITED, paid_with, refused};

diesel::table! {
    pg_catalog.pg_stat_activity (pid) {
        pid -> Integer,
        datname -> Nullable<Text>,
        wait_event_type -> Nullable<Text>,
    }
}

/// A link from the days when anybody could link what another had bought.
async fn linked_long_ago(app: &TestApp, account: &str, id: &str, rival: &Rival<'_>) {
    let account: AccountId = account.parse().unwrap();
    let id: ResourceId = id.parse().unwrap();
    let (orchestrator, now) = (rival.orchestrator.id.clone(), app.now());
    let planted = app.app().db.write("test", move |conn| {
        let row = (
            wire_resources::account_id.eq(&account),
            wire_resources::resource_id.eq(&id),
            wire_resources::orchestrator_id.eq(&orchestrator),
            wire_resources::environment.eq("prod"),
            wire_resources::created_at.eq(now),
        );
        diesel::insert_into(wire_resources::table).values(row).execute(conn).map(drop).map_err(DbError::from)
    });
    planted.await.unwrap();
}

async fn tokens_known(app: &TestApp) -> i64 {
    let counted = app.app().db.read(|conn| Ok::<_, DbError>(payment_tokens::table.count().get_result(conn)?));
    counted.await.unwrap()
}

/// Returns when somebody waits for a lock in this database. On SQLite nobody reads in a write before it has the lock.
async fn somebody_waits(db: &TestDb) {
    if db.backend() == Backend::Sqlite {
        return;
    }
    let url: url::Url = db.settings().url.expose_secret().parse().unwrap();
    let name = url.path().trim_start_matches('/').to_owned();
    let mut conn = databases::connect(url.as_str());
    for _ in 0..200 {
        let waiting = pg_stat_activity::table
            .filter(pg_stat_activity::datname.eq(&name))
            .filter(pg_stat_activity::wait_event_type.eq("Lock"))
            .count()
            .get_result::<i64>(&mut conn);
        if 0 < waiting.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nobody waits");
}

on_both! {
    async fn what_one_orchestrator_sold_another_neither_links_nor_changes_nor_sees(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let bought = ada.agent.buys("postgres", "small").await.expect_status(201).json();
        let id = bought["resource"]["id"].as_str().unwrap().to_owned();
        let link = json!({"service_id": "postgres:small", "submitted_information": {"resource_id": id}});
        refused(&rival.wire.post("/provisioning/resources/link", &link).await, 404, "not_found", "");
        linked_long_ago(&app, &ada.agent.account, &id, &rival).await;
        let before = (ada.agent.spent_and_held().await, app.issuer_says(), tokens_known(&app).await);
        let path = format!("/provisioning/resources/{id}");
        refused(&rival.wire.get(&path).await, 403, "forbidden", &id);
        let body = json!({"service_id": "postgres:medium", "payment_credentials": paid_with(&rival.payment_token())});
        for verb in ["update_service", "rotate_credentials", "remove"] {
            let answer = rival.wire.post_once(&fresh_key(), &format!("{path}/{verb}"), &body).await;
            refused(&answer, 403, "forbidden", &id);
        }
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says(), tokens_known(&app).await), before);
        assert_eq!(ada.plan_and_state(&id).await, ("postgres/small".to_owned(), "ready".to_owned()));
        rival.simulator.stop().await;
        app.stop().await;
    }

    async fn a_change_and_a_payment_token_belong_to_the_orchestrator_that_sold_the_resource(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let id = ada.gets("postgres:small").await;
        let before = (ada.agent.spent_and_held().await, app.issuer_says(), tokens_known(&app).await);
        let (desk, now) = (&app.app().desk, app.now());
        let account_id: AccountId = ada.agent.account.parse().unwrap();
        let presented = Secret::presented(&rival.payment_token());
        let subjects = [(String::new(), rival.user.subject.clone())];
        let token = token::verify(&presented, &rival.orchestrator, &subjects, &app.app().keys, now).await.unwrap();
        let keyed = |key: &str| Keyed::new("test", &key.parse().unwrap(), b"");
        let change = Change {
            account_id: account_id.clone(),
            orchestrator_id: rival.orchestrator.id.clone(),
            client: app.orchestrator.id.to_string(),
            id: id.parse().unwrap(),
            edition: app.app().edition(),
            to: Some("postgres/medium".parse().unwrap()),
            configuration: Map::new(),
            information: Vec::new(),
        };
        let theirs = resource::change_plan(desk, change.clone(), Some(token.clone()), keyed("1"), now).await;
        assert!(matches!(theirs, Err(ChangeError::NotFound)), "{theirs:?}");
        let own = Change { orchestrator_id: app.orchestrator.id.clone(), ..change };
        let paid = resource::change_plan(desk, own, Some(token.clone()), keyed("2"), now).await;
        assert!(matches!(paid, Err(ChangeError::Pay(PayError::TokenTaken))), "{paid:?}");
        let purchase = Purchase {
            account_id,
            orchestrator_id: app.orchestrator.id.clone(),
            edition: app.app().edition(),
            plan: "postgres/small".parse().unwrap(),
            name: "another".to_owned(),
            configuration: json!({}),
            placement: None,
            client: app.orchestrator.id.to_string(),
            allowance: None,
            information: Vec::new(),
            again: false,
        };
        let bought = resource::buy(desk, purchase, Some(token), keyed("3"), now).await;
        assert!(matches!(bought, Err(BuyError::Pay(PayError::TokenTaken))), "{bought:?}");
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says(), tokens_known(&app).await), before);
        rival.simulator.stop().await;
        app.stop().await;
    }

    async fn a_change_that_waited_for_another_is_judged_by_what_that_one_left(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        let (account, wanted): (AccountId, ResourceId) = (ada.agent.account.parse().unwrap(), id.parse().unwrap());
        let (holds, mut held) = tokio::sync::mpsc::unbounded_channel();
        let (go, on) = std::sync::mpsc::channel::<()>();
        let other = db.db().clone();
        let other = actix_web::rt::spawn(async move {
            let work = move |conn: &mut DbConnection| {
                diesel::update(accounts::table.find(&account))
                    .set(accounts::changed_at.eq(accounts::changed_at))
                    .execute(conn)?;
                let _ = holds.send(());
                let _ = on.recv_timeout(std::time::Duration::from_secs(4));
                let row = resources::table.find((&account, &wanted));
                diesel::update(row).set(resources::plan.eq("medium")).execute(conn).map(drop).map_err(DbError::from)
            };
            other.write("other", work).await.unwrap();
        });
        held.recv().await.unwrap();
        let body = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        let path = format!("/provisioning/resources/{id}/update_service");
        let (answer, ()) = tokio::join!(ada.wire.post_once("up", &path, &body), async {
            somebody_waits(&db).await;
            go.send(()).unwrap();
        });
        other.await.unwrap();
        answer.expect_status(200);
        assert_eq!(ada.plan_and_state(&id).await, ("postgres/medium".to_owned(), "ready".to_owned()));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)), "nothing is paid twice");
        app.stop().await;
    }

    async fn the_same_key_of_two_orchestrators_names_two_requests(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let (mine, theirs) = (&ada.agent.client, rival.client().await);
        let order = json!({"service": "sandbox", "plan": "free"});
        let first = mine.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        let second = theirs.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        assert_ne!(first["resource"]["id"], second["resource"]["id"]);
        assert_ne!(first["credentials"], second["credentials"], "nobody gets another's");
        let first = mine.post_once("k", "/v1/deep-links", &json!({})).await.expect_status(201).json();
        let second = theirs.post_once("k", "/v1/deep-links", &json!({})).await.expect_status(201).json();
        assert_ne!(first["url"], second["url"]);
        let (path, body) = ("/provisioning/deep_links", json!({"purpose": "dashboard"}));
        let first = ada.wire.post_once("k", path, &body).await.expect_status(200).json();
        let second = rival.wire.post_once("k", path, &body).await.expect_status(200).json();
        assert_ne!(first["url"], second["url"]);
        assert_eq!(ada.wire.post_once("k", path, &body).await.expect_status(200).json(), first);
        rival.simulator.stop().await;
        app.stop().await;
    }

    async fn dead_refresh_tokens_and_the_limits_of_another_hold_up_nobody(db: TestDb) {
        let limits = [("wire.token_exchanges_per_hour", "3"), ("wire.resource_creates_per_hour", "1")];
        let app = TestApp::start_with(&db, &limits).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let dead = rival.tokens["refresh_token"].as_str().unwrap();
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", dead)];
        rival.wire.bare().token(&refresh).await.expect_status(200);
        for _ in 0..8 {
            let answer = rival.wire.bare().token(&refresh).await;
            assert_eq!((answer.status(), &answer.json()["error"]), (400, &json!("invalid_grant")));
        }
        // Its own limit it can reach, and only its own.
        let (again, _) = rival.wire.bare().opens_account(&rival.user).await;
        let code = again.asks_for_account(&rival.user).await.expect_status(200).json();
        let code = code["oauth"]["code"].as_str().unwrap();
        let fields = [("grant_type", "authorization_code"), ("code", code)];
        assert_eq!(again.bare().token(&fields).await.status(), 429);
        let (mine, _) = ada.wire.bare().opens_account(&ada.agent.user).await;
        let sandbox = json!({"service_id": "sandbox"});
        again.post_once("1", "/provisioning/resources", &sandbox).await.expect_status(200);
        assert_eq!(again.post_once("2", "/provisioning/resources", &sandbox).await.status(), 429);
        mine.post_once("3", "/provisioning/resources", &sandbox).await.expect_status(200);
        rival.simulator.stop().await;
        app.stop().await;
    }

    async fn a_refresh_that_another_orchestrator_signed_is_refused_and_keeps_its_token(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, None).await;
        let token = rival.tokens["refresh_token"].as_str().unwrap();
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let answer = ada.wire.bare().token(&refresh).await;
        assert_eq!((answer.status(), &answer.json()["error"]), (400, &json!("invalid_grant")));
        rival.wire.bare().token(&refresh).await.expect_status(200);
        rival.simulator.stop().await;
        app.stop().await;
    }

    async fn an_id_token_gives_no_more_than_the_owner_allowed(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let rival = Rival::of(&ada, Some("resources:read budget:read")).await;
        let all = rival.asks_for_token(None).await.expect_status(200).json();
        assert_eq!(all["scope"], "resources:read budget:read");
        let more = rival.asks_for_token(Some("resources:write budget:read")).await.expect_status(200).json();
        assert_eq!(more["scope"], "budget:read");
        rival.asks_for_token(Some("resources:write")).await.problem(400, "invalid_request");
        let client = app.stranger().with_token(all["access_token"].as_str().unwrap());
        client.post_once("k", "/v1/resources", &json!({"service": "sandbox", "plan": "free"})).await.expect_status(403);
        // On the wire as well: nothing named is what was allowed.
        let answer = rival.wire.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await;
        refused(&answer, 403, "forbidden", "");
        let (id, subject) = (rival.orchestrator.id.clone(), rival.user.subject.clone());
        let known = app.app().db.read(move |conn| account::allowed(conn, (&id, "", &subject))).await.unwrap();
        assert_eq!(known.as_deref(), Some("resources:read budget:read"));
        rival.simulator.stop().await;
        app.stop().await;
    }
}
