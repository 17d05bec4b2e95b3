//! The demo's provider believes the simulated orchestrator: its attestations, and its signed calls.

use portreeve::app::{App, HOUSE};
use portreeve::attestation::request_signature::PublicKeySource;
use portreeve::db::DbError;
use portreeve::ids::{OrchestratorId, WireSecretId};
use portreeve::orchestrator::{
    self, AddError, Issuer, NewOrchestrator, NotificationSecret, Orchestrator, Origin, SignatureMode, WireSecret,
    WireSettings,
};
use portreeve::simulator::Simulator;
use serde_json::Value;

use super::super::{Failure, wire};
use super::CLIENT_ID;

/// What the orchestrator tells a provider when it is introduced.
pub(super) fn told<'s>(simulator: &'s Simulator, name: &str) -> Result<&'s str, Failure> {
    let told = simulator.introduction().get(name).and_then(Value::as_str);
    told.ok_or_else(|| Failure::invalid(format!("the simulated orchestrator does not say its `{name}`")))
}

/// Registers the simulated orchestrator; each run has another address, so a kept folder collects several.
pub(super) async fn trust(app: &App, simulator: &Simulator) -> Result<Orchestrator, Failure> {
    let issuer: Issuer = simulator.issuer_url.parse()?;
    let known = issuer.clone();
    let found = app.db.read(move |conn| orchestrator::by_issuer(conn, known.as_str())).await?;
    let trusted = match found {
        Some(found) => found,
        None => add(app, simulator, &issuer).await?,
    };
    hear(app, simulator, &trusted.id).await?;
    Ok(trusted)
}

async fn add(app: &App, simulator: &Simulator, issuer: &Issuer) -> Result<Orchestrator, Failure> {
    let now = app.clock.now();
    let port = simulator.issuer_url.rsplit(':').next().unwrap_or("").to_owned();
    for name in ["Harbour".to_owned(), format!("Harbour {port}")] {
        let mut new = NewOrchestrator::new(name.parse()?, issuer.clone(), CLIENT_ID);
        new.settlement_url = Some(simulator.settlement_url.parse()?);
        new.email_domains = vec!["example.test".parse()?];
        new.origin = Origin::Demo;
        match app.db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await {
            Ok(added) => return Ok(added),
            Err(AddError::NameTaken(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::conflict("the folder already knows two orchestrators of this name; use another --keep folder"))
}

/// Sets how it calls: with the secret that it gave, and its keys for the second signature. Both are new in each run.
async fn hear(app: &App, simulator: &Simulator, id: &OrchestratorId) -> Result<(), Failure> {
    let now = app.clock.now();
    let sealed = |place: String, name: &str| -> Result<String, Failure> {
        Ok(app.wire_sealer.seal(&place, told(simulator, name)?.as_bytes())?)
    };
    let secret_id = WireSecretId::new(now);
    let secret = WireSecret {
        orchestrator_id: id.clone(),
        sealed: sealed(WireSecret::place(id, &secret_id), "signing_secret")?,
        id: secret_id,
        created_at: now,
        retired_at: None,
    };
    let settings = WireSettings {
        kind: told(simulator, "orchestrator_type")?.to_owned(),
        // The commands that the demo prints sign by the first scheme alone.
        signature_mode: SignatureMode::V2Advisory,
        callback_url: Some(told(simulator, "callback_url")?.parse()?),
        public_keys_url: Some(told(simulator, "public_keys_url")?.parse()?),
        sealed_public_keys_token: Some(sealed(PublicKeySource::place(id), "public_keys_token")?),
        notification_url: Some(told(simulator, "notification_url")?.parse()?),
        sealed_notification_secret: Some(sealed(NotificationSecret::place(id), "notification_secret")?),
        ..wire::unset(id.clone(), now)
    };
    let set = app.db.write(HOUSE, move |conn| -> Result<_, DbError> {
        orchestrator::set_wire(conn, &settings)?;
        orchestrator::add_secret(conn, &secret)
    });
    set.await?;
    app.wire_secrets.forget();
    Ok(())
}
