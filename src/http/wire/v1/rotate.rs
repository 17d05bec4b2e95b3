//! `POST /v1/resources/{id}/rotate`: new credentials for a resource.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::resources::{ResourceView, left, resource_id};
use crate::app::App;
use crate::db::DbError;
use crate::http::caller::{Caller, Key, ResourcesWrite};
use crate::http::problem::{Problem, table};
use crate::idempotency::Keyed;
use crate::resource::{self, Came, Changed, Shown};

/// A resource with its new credentials.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotateResourceResponse {
    resource: ResourceView,
    /// Names and values for the environment. Only here, and in retries under the same key; missing until they are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Shown>,
}

/// Replaces a resource's credentials, once for each key. Whether the ones before work on for a while is the provider's word.
#[utoipa::path(post, path = "/v1/resources/{id}/rotate", tag = "resources",
    params(("id" = String, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = RotateResourceResponse), (status = 202, body = RotateResourceResponse),
        (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 422)),
    security(("access_token" = ["resources:write"])))]
pub(crate) async fn rotate_resource(
    app: Data<App>,
    caller: Caller<ResourcesWrite>,
    key: Key,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (account, id) = (caller.token.account_id.clone(), resource_id(&path)?);
    let keyed = Keyed::new(&caller.operation(&format!("rotate_resource/{id}")), &key.0, b"");
    let Changed { operation, .. } = resource::rotate(&app.desk, &caller.token.agent(), &id, keyed, caller.now).await?;
    let found = app.db.read(move |conn| {
        let came = match &operation {
            Some(operation) => resource::came_of(conn, &account, operation)?,
            None => Some(Came::Done),
        };
        Ok::<_, DbError>(came.zip(resource::by_id(conn, &account, &id)?))
    });
    let (came, resource) = found.await?.ok_or_else(left)?;
    let mut builder = match came {
        Came::Refused { why, .. } => {
            let problem = Problem::new(&table::ROTATION_REFUSED, "The credentials are what they were.");
            return Err(problem.with("reason", why));
        }
        Came::Pending => HttpResponse::Accepted(),
        Came::Done => HttpResponse::Ok(),
    };
    let credentials = resource::open_credentials(&app.desk, &resource, caller.now).await?;
    let answer = RotateResourceResponse { resource: ResourceView::from(&resource), credentials };
    Ok(builder.insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
