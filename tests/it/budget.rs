//! What may still be spent, and the ledger behind it; and that nobody sees what is another's.

use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};

on_both! {
    async fn a_new_account_may_spend_its_ceiling(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let answer = agent.client.get("/v1/budget").await.expect_status(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let budget = answer.json();
        let expected = json!({
            "currency": "USD", "ceiling": 10_000, "spent": 0, "held": 0, "remaining": 10_000, "binding": "budget",
            "period": {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"},
            "resets_at": "2026-12-01T00:00:00Z", "spending_stopped": false, "as_of": "2026-11-15T12:00:00Z",
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&budget[name], value, "{name}: {budget}");
        }
        assert_eq!(agent.spent_and_held().await, (0, 0));
        app.stop().await;
    }

    async fn pages_of_the_ledger_join_without_gap_or_overlap(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for _ in 0..4 {
            agent.buys("postgres", "small").await.expect_status(201);
        }
        let all = agent.ledger().await;
        assert_eq!(all.len(), 8, "a hold and a capture each");
        for limit in [1, 3, 4, 8] {
            let (mut joined, mut next) = (Vec::new(), String::new());
            loop {
                let page = agent.client.get(&format!("/v1/ledger?limit={limit}{next}")).await.expect_status(200).json();
                let entries = page["data"].as_array().unwrap().clone();
                assert!(entries.len() <= limit);
                joined.extend(entries);
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                next = format!("&cursor={cursor}");
            }
            assert_eq!(joined, all, "pages of {limit}");
        }
        // Newest first, and each entry names the one before it.
        for pair in all.windows(2) {
            assert_eq!(pair[0]["previous_hash"], pair[1]["hash"]);
        }
        assert_eq!((&all[0]["kind"], &all[1]["kind"]), (&json!("capture"), &json!("hold")));
        app.stop().await;
    }

    async fn pages_of_resources_join_without_gap_or_overlap(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(agent.buys("sandbox", "free").await.expect_status(201).json()["resource"]["id"].clone());
            app.pass(chrono::TimeDelta::seconds(1));
        }
        made.reverse();
        for limit in [1, 2, 5] {
            let (mut joined, mut next) = (Vec::<Value>::new(), String::new());
            loop {
                let page = agent.client.get(&format!("/v1/resources?limit={limit}{next}")).await.expect_status(200).json();
                joined.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].clone()));
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                next = format!("&cursor={cursor}");
            }
            assert_eq!(joined, made, "pages of {limit}");
        }
        app.stop().await;
    }

    async fn limits_of_pages_have_bounds(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for list in ["/v1/ledger", "/v1/resources"] {
            for wrong in ["limit=0", "limit=101", "limit=-1", "limit=x", "cursor=%00", "cursor=nobody", "page=2"] {
                let answer = agent.client.get(&format!("{list}?{wrong}")).await;
                assert_eq!(answer.status(), 400, "{list}?{wrong}: {}", answer.text());
                answer.problem(400, "invalid_request");
            }
            for right in ["limit=1", "limit=100", ""] {
                let page = agent.client.get(&format!("{list}?{right}")).await.expect_status(200).json();
                assert_eq!((&page["data"], &page["next_cursor"]), (&json!([]), &Value::Null));
            }
        }
        app.stop().await;
    }

    async fn nobody_sees_or_removes_what_is_anothers(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let bought = ada.buys("postgres", "small").await.expect_status(201).json();
        let path = format!("/v1/resources/{}", bought["resource"]["id"].as_str().unwrap());
        ada.client.get(&path).await.expect_status(200);
        let unknown = format!("/v1/resources/{}", portreeve::ids::ResourceId::new(app.now()));
        for path in [&path, &unknown, &"/v1/resources/res_x".to_owned()] {
            let (seen, removed) = (bob.client.get(path).await, bob.client.delete(path).await);
            let (seen, removed) = (seen.problem(404, "not_found"), removed.problem(404, "not_found"));
            // Another's resource cannot be told from one that never was.
            assert_eq!((&seen["detail"], &removed["detail"]), (&json!("The account has no such resource."), &seen["detail"]));
        }
        assert_eq!(bob.client.get("/v1/resources").await.json()["data"], json!([]));
        assert_eq!((bob.ledger().await.len(), bob.spent_and_held().await), (0, (0, 0)));
        // The owner's still stands.
        assert_eq!(ada.client.get(&path).await.json()["state"], "ready");
        app.stop().await;
    }

    async fn removing_is_safe_to_repeat_and_gives_no_money_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let bought = agent.buys("postgres", "small").await.expect_status(201).json();
        let path = format!("/v1/resources/{}", bought["resource"]["id"].as_str().unwrap());
        for _ in 0..2 {
            let removed = agent.client.delete(&path).await.expect_status(200).json();
            assert_eq!(removed["state"], "removed");
        }
        assert_eq!(agent.client.get(&path).await.expect_status(200).json()["state"], "removed");
        assert_eq!(agent.spent_and_held().await, (900, 0));
        app.stop().await;
    }

    async fn a_name_that_misleads_is_refused_and_buys_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for (name, said) in [
            ("pay\u{202e}lap", "U+202E"),
            ("a\u{2066}b\u{2069}", "U+2066"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{200d}b", "U+200D"),
            ("a\u{ad}b", "U+00AD"),
            ("\u{feff}a", "U+FEFF"),
            ("a\u{e0041}b", "U+E0041"),
            ("\u{3164}", "U+3164"),
            ("a\nb", "U+000A"),
            ("   ", "1 to 80"),
            (&"é".repeat(81), "1 to 80"),
        ] {
            let mut order = agent.order("postgres", "small");
            order["name"] = json!(name);
            let refusal = agent.sends(&order).await.problem(400, "invalid_request");
            let detail = refusal["detail"].as_str().unwrap();
            assert!(detail.starts_with("`name` ") && detail.contains(said), "{name:?}: {detail}");
            assert_eq!(refusal["field"], "name");
        }
        let resources = agent.client.get("/v1/resources").await.expect_status(200).json();
        assert_eq!((&resources["data"], agent.spent_and_held().await), (&json!([]), (0, 0)));
        app.stop().await;
    }

    async fn a_name_is_what_the_owner_calls_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut order = agent.order("sandbox", "free");
        order["name"] = json!("  <b>Søren's</b> place ");
        let bought = agent.sends(&order).await.expect_status(201);
        let location = bought.header("location").to_owned();
        let body = bought.json();
        assert_eq!(body["resource"]["name"], "<b>Søren's</b> place");
        assert_eq!(body["cost"]["amount"], 0, "what is free costs nothing: {body}");
        assert_eq!(agent.client.get(&location).await.expect_status(200).json(), body["resource"]);
        app.stop().await;
    }
}
