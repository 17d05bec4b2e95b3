//! Secrets of what is merged or moved out of a separate account: its agent knows them after that only if it may change things
//! in the owner's account.

use diesel::prelude::*;
use portreeve::db::DbError;
use portreeve::db::schema::renewals;
use portreeve::resource;

use crate::harness::app::TestApp;
use crate::harness::beside::Beside;
use crate::wire_rotation::works;

/// Whether the key that the agent was given still works when all renewing is done; `scopes`: what a merge gives, none: the
/// thing is moved.
async fn knows(app: &TestApp, scopes: &[&str]) -> bool {
    let beside = Beside::start(app).await;
    let bought = beside.buys("weather", "metered").await.expect_status(201).json();
    let (id, key) = (bought["resource"]["id"].as_str().unwrap(), bought["credentials"]["API_KEY"].as_str().unwrap());
    assert!(works(app, key).await);
    let browser = beside.owner().await;
    let done =
        if scopes.is_empty() { beside.moves(&browser, &[id]).await } else { beside.merges(&browser, scopes).await };
    done.expect_status(303);
    for _ in 0..100 {
        // The provider's own workers take their turns as well.
        resource::renew_due(&app.app().desk, app.app().clock.as_ref()).await.unwrap();
        app.pass(chrono::TimeDelta::seconds(3));
        let left = app.app().db.read(|conn| Ok::<_, DbError>(renewals::table.count().get_result::<i64>(conn)?));
        if left.await.unwrap() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // The owner has it, whole.
    beside.ada.client.get(&format!("/v1/resources/{id}")).await.expect_status(200);
    works(app, key).await
}

on_both! {
    async fn an_agent_knows_no_secret_of_what_was_moved_away_from_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        assert!(!knows(&app, &[]).await);
        app.stop().await;
    }

    async fn an_agent_that_may_only_look_after_a_merge_knows_no_secret_any_more(db: TestDb) {
        let app = TestApp::start(&db).await;
        assert!(!knows(&app, &["resources:read", "budget:read"]).await);
        app.stop().await;
    }

    async fn an_agent_that_may_change_things_after_a_merge_keeps_its_secrets(db: TestDb) {
        let app = TestApp::start(&db).await;
        assert!(knows(&app, &["resources:read", "resources:write"]).await);
        app.stop().await;
    }
}
