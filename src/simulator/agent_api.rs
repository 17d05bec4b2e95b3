//! What the agent of a signed-in user may ask of the orchestrator; `portreeve agent` is its command line.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::app_wire::Wire;
use super::connection::{Stage, bearer, link};
use super::env_file::variables;
use super::refusal::{Done, Refusal};
use super::registry::Member;
use super::resources::{self, Order, Resource, usual_project};
use super::shelf::shelves;
use super::state::State;
use super::tokens::unique;
use crate::clock::Period;
use crate::money::Money;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/agent/catalog", web::get().to(catalog))
        .route("/agent/links", web::post().to(links))
        .route("/agent/resources", web::post().to(add))
        .route("/agent/resources/{name}/upgrade", web::post().to(upgrade))
        .route("/agent/resources/{name}/rotate", web::post().to(rotate))
        .route("/agent/resources/{name}", web::delete().to(remove))
        .route("/agent/env", web::get().to(env))
        .route("/agent/deep-links", web::post().to(open))
        .route("/agent/billing", web::get().to(billing))
        .route("/agent/status", web::get().to(status));
}

/// Whose agent asks.
fn user(state: &State, request: &HttpRequest) -> Result<Member, Refusal> {
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let found = state.world().members.values().find(|member| member.holds(token)).cloned();
    found.ok_or_else(|| Refusal::new(401, "SESSION_UNUSABLE", "the agent's token is none of a user's here"))
}

fn answer(outcome: Result<Done, Refusal>) -> HttpResponse {
    match outcome {
        Ok(done) => done.answer(),
        Err(refusal) => refusal.answer(),
    }
}

/// Where: a project of the user's.
#[derive(Deserialize)]
struct Where {
    #[serde(default = "usual_project")]
    project: String,
    provider: Option<String>,
}

async fn catalog(state: web::Data<State>, request: HttpRequest, at: web::Query<Where>) -> HttpResponse {
    let work = async {
        user(&state, &request)?;
        if let Some(name) = &at.provider {
            resources::provider(&state, name)?;
        }
        Ok(Done::of(json!({"providers": shelves(&state, at.provider.as_deref()).await})))
    };
    answer(work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkAsked {
    provider: String,
    #[serde(default)]
    configuration: Map<String, Value>,
}

async fn links(state: web::Data<State>, request: HttpRequest, asked: web::Json<LinkAsked>) -> HttpResponse {
    let asked = asked.into_inner();
    let work = async {
        let user = user(&state, &request)?;
        let provider = resources::provider(&state, &asked.provider)?;
        link(&state, &user, &provider, Value::Object(asked.configuration)).await
    };
    answer(work.await)
}

async fn add(state: web::Data<State>, request: HttpRequest, order: web::Json<Order>) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        resources::add(&state, &user, order.into_inner()).await
    };
    answer(work.await)
}

async fn upgrade(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
    order: web::Json<Order>,
) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        resources::upgrade(&state, &user, &name, order.into_inner()).await
    };
    answer(work.await)
}

async fn rotate(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
    at: web::Query<Where>,
) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        resources::rotate(&state, &user, &at.project, &name).await
    };
    answer(work.await)
}

async fn remove(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
    at: web::Query<Where>,
) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        resources::remove(&state, &user, &at.project, &name).await
    };
    answer(work.await)
}

/// The credentials as variables of an environment.
async fn env(state: web::Data<State>, request: HttpRequest, at: web::Query<Where>) -> HttpResponse {
    let work = || -> Result<Done, Refusal> {
        let user = user(&state, &request)?;
        let world = state.world();
        let mine: Vec<&Resource> = sorted(&world.resources, &user, &at.project);
        let held = mine.iter().flat_map(|held| {
            held.access.iter().map(|(name, value)| (held.name.as_str(), name.as_str(), value.expose()))
        });
        let (variables, warnings) = variables(held);
        Ok(Done { warnings, ..Done::of(json!({"variables": variables})) })
    };
    answer(work())
}

/// What is there in a project, the oldest first: names of variables do not change when something is added.
fn sorted<'w>(
    all: &'w std::collections::BTreeMap<String, Resource>,
    user: &Member,
    project: &str,
) -> Vec<&'w Resource> {
    let is = |held: &&Resource| held.is_there() && held.user == user.subject && held.project == project;
    let mut mine: Vec<&Resource> = all.values().filter(is).collect();
    mine.sort_by_key(|held| (held.created_at, held.id.clone()));
    mine
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenAsked {
    provider: String,
}

async fn open(state: web::Data<State>, request: HttpRequest, asked: web::Json<OpenAsked>) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        let provider = resources::provider(&state, &asked.provider)?;
        let token = bearer(&state, &user, &provider, None).await?;
        let link = Wire::to(&state, &provider).deep_link(&token, &user, &unique("dl")?).await?;
        Ok(Done::of(json!({"provider": provider.name, "url": link.url, "expires_at": link.expires_at})))
    };
    answer(work.await)
}

/// What each provider took this month, and how much it may take.
async fn billing(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let work = || -> Result<Done, Refusal> {
        let user = user(&state, &request)?;
        let now = state.clock.now();
        let month = Period::month_of(now);
        let world = state.world();
        let mut lines = Vec::new();
        for provider in world.providers.values() {
            for cap in provider.caps.iter().flatten() {
                let spent = world.books.taken(&provider.client_id, &user.subject, cap.currency, now);
                let money = |amount| Money { amount, currency: cap.currency }.to_string();
                lines.push(json!({"provider": provider.name, "currency": cap.currency, "cap": cap.amount,
                    "used": spent, "left": cap.amount.saturating_sub(spent),
                    "text": format!("{} of {} used", money(spent), money(cap.amount))}));
            }
        }
        Ok(Done::of(json!({"period": month, "providers": lines})))
    };
    answer(work())
}

/// Connections and resources; pending ones are looked at first.
async fn status(state: web::Data<State>, request: HttpRequest, at: web::Query<Where>) -> HttpResponse {
    let work = async {
        let user = user(&state, &request)?;
        let warnings = resources::look(&state, &user).await;
        let now = state.clock.now();
        let world = state.world();
        let mine = world.connections.values().filter(|connection| connection.user == user.subject);
        let connections = mine.filter_map(|connection| match &connection.stage {
            Stage::Linked(linked) => Some(json!({"provider": connection.provider, "state": "linked",
                "account": linked.account, "token_until": linked.expires_at})),
            Stage::Waiting { url, expires_at, request, .. } if *expires_at > now => {
                Some(json!({"provider": connection.provider, "state": "waiting", "url": url, "request": request,
                    "expires_at": expires_at}))
            }
            Stage::Waiting { .. } => None,
        });
        let connections: Vec<Value> = connections.collect();
        let resources: Vec<Value> =
            sorted(&world.resources, &user, &at.project).into_iter().map(Resource::shown).collect();
        let data = json!({"user": user.email, "orchestrator": state.name, "project": at.project,
            "connections": connections, "resources": resources});
        Ok(Done { warnings, ..Done::of(data) })
    };
    answer(work.await)
}
