//! The body of a request for an account: strict about what is known, deaf to what is not. An explicit `null` is absence.

use serde_json::{Map, Value};

use crate::account::{PersonalFact, PersonalField};
use crate::attestation::{AccountRequestFacts, CanonicalEmail};
use crate::authorization::{CodeChallenge, Scopes};
use crate::clock::Timestamp;
use crate::http::wire::provisioning::envelope::{Refusal, Typed};
use crate::http::wire::provisioning::signed::parse_json;
use crate::orchestrator::WireSettings;
use crate::secret::sha256_base64url;
use crate::signing::canonical_json;

/// The longest `id`, in bytes.
const MAX_ID: usize = 200;
/// The longest name of a client, in bytes.
const MAX_CLIENT_ID: usize = 255;
/// The longest `confirmation_secret`, in bytes.
const MAX_SECRET: usize = 1024;
/// The longest text of any other member, in bytes.
const MAX_TEXT: usize = 1024;
/// The most texts in a list.
const MAX_TEXTS: usize = 64;

/// A JSON object whose members are asked for by name and type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a> {
    members: &'a Map<String, Value>,
    /// Where the object stands, with a point behind it.
    at: &'a str,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: &str) -> Refusal<Typed> {
        Refusal::bad(format!("`{}{name}` must be {what}.", self.at))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal<Typed>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| self.wrong(name, "a text"))?;
        if text.len() > MAX_TEXT {
            return Err(self.wrong(name, &format!("at most {MAX_TEXT} bytes long")));
        }
        Ok(Some(text))
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>, Refusal<Typed>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || self.wrong(name, &format!("a list of at most {MAX_TEXTS} texts"));
        let values = value.as_array().filter(|values| values.len() <= MAX_TEXTS).ok_or_else(wrong)?;
        values.iter().map(|value| value.as_str().ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    fn object(&self, name: &str, at: &'a str) -> Result<Option<Members<'a>>, Refusal<Typed>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let members = value.as_object().ok_or_else(|| self.wrong(name, "an object"))?;
        Ok(Some(Members { members, at }))
    }
}

/// A request for an account, as far as it is judged before anybody knows who sent it.
#[derive(Debug)]
pub(super) struct RequestBody {
    value: Map<String, Value>,
    email: String,
    canonical: CanonicalEmail,
    expires_at: Option<Timestamp>,
}

impl RequestBody {
    /// Reads the bytes as a JSON object.
    pub(super) fn parse(content_type: &str, bytes: &[u8]) -> Result<Map<String, Value>, Refusal<Typed>> {
        parse_json(content_type, bytes)
    }

    /// Judges what is judged first: the address, then the end.
    pub(super) fn read(value: Map<String, Value>, now: Timestamp) -> Result<Self, Refusal<Typed>> {
        let all = Members { members: &value, at: "" };
        let email = all.text("email")?.filter(|email| !email.is_empty());
        let email = email.ok_or_else(|| Refusal::bad("`email` is missing."))?.to_owned();
        let canonical = email.parse().map_err(|_invalid| Refusal::bad("`email` is no address that we keep."))?;
        let expires_at = all.text("expires_at")?.map(|text| instant(text).ok_or_else(|| no_instant("expires_at")));
        let expires_at = expires_at.transpose()?;
        if expires_at.is_some_and(|end| end <= now) {
            return Err(super::expired("The request has expired: `expires_at` lies in the past."));
        }
        Ok(Self { value, email, canonical, expires_at })
    }

    fn all(&self) -> Members<'_> {
        Members { members: &self.value, at: "" }
    }

    /// The id as far as it can be echoed, whatever else is wrong with the request.
    pub(super) fn echo(value: &Map<String, Value>) -> String {
        let id = value.get("id").and_then(Value::as_str).filter(|id| id.len() <= MAX_ID);
        id.unwrap_or_default().to_owned()
    }

    /// `client_id`, for requests that nobody signed.
    pub(super) fn client_id(&self) -> Result<Option<&str>, Refusal<Typed>> {
        let client = self.all().text("client_id")?;
        if client.is_some_and(|id| !(1..=MAX_CLIENT_ID).contains(&id.len()) || id.chars().any(char::is_control)) {
            let message = format!("`client_id` must have 1 to {MAX_CLIENT_ID} bytes and no control characters.");
            return Err(Refusal::bad(message));
        }
        Ok(client)
    }

    /// `orchestrator.<type>.account`, where the type is how the signer calls itself.
    pub(super) fn orchestrator_account(&self, settings: &WireSettings) -> Result<String, Refusal<Typed>> {
        let missing = |what: &str| Refusal::bad(format!("`{what}` is missing."));
        let block = self.all().object("orchestrator", "orchestrator.")?.ok_or_else(|| missing("orchestrator"))?;
        let kind = block.text("type")?.ok_or_else(|| missing("orchestrator.type"))?;
        if kind != settings.kind {
            return Err(Refusal::bad("`orchestrator.type` is not how the signer of the request calls itself."));
        }
        let named = block.object(kind, "orchestrator.*.")?.ok_or_else(|| missing("orchestrator.*"))?;
        // Both spellings, and both at once, are accepted: the organization names nobody.
        named.text("organization")?;
        named.text("organisation")?;
        let account = named.text("account")?.filter(|account| !account.is_empty());
        account.map(str::to_owned).ok_or_else(|| missing("orchestrator.*.account"))
    }

    /// PKCE, S256 only (RFC 7636).
    pub(super) fn code_challenge(&self) -> Result<Option<CodeChallenge>, Refusal<Typed>> {
        let all = self.all();
        if all.text("code_challenge_method")?.is_some_and(|method| method != "S256") {
            return Err(Refusal::bad("`code_challenge_method` must be `S256`."));
        }
        let challenge = all.text("code_challenge")?.map(str::parse).transpose();
        challenge.map_err(|invalid| Refusal::bad(format!("`code_challenge`: {invalid}.")))
    }

    /// Every other member that is known has the type that it should have.
    pub(super) fn check_rest(&self) -> Result<(), Refusal<Typed>> {
        let all = self.all();
        all.object("configuration", "configuration.")?;
        for name in ["object", "name", "phone", "country"] {
            all.text(name)?;
        }
        all.texts("client_capabilities")?;
        if let Some(actor) = all.object("actor", "actor.")? {
            actor.text("email")?;
            actor.text("ip_address")?;
        }
        Ok(())
    }

    /// The scopes asked for, as far as we know them. `None`: none is asked for.
    pub(super) fn scopes(&self) -> Result<Option<Scopes>, Refusal<Typed>> {
        let Some(asked) = self.all().texts("scopes")?.filter(|asked| !asked.is_empty()) else {
            return Ok(None);
        };
        let known = Scopes::known_of(&asked.join(" "));
        if known.is_empty() {
            return Err(Refusal::bad(format!("None of `scopes` is known here; there are: {}.", Scopes::all())));
        }
        Ok(Some(known))
    }

    /// `confirmation_secret`: opaque.
    pub(super) fn confirmation_secret(&self) -> Result<Option<String>, Refusal<Typed>> {
        let secret = self.all().text("confirmation_secret")?.filter(|secret| !secret.is_empty());
        if secret.is_some_and(|secret| secret.len() > MAX_SECRET) {
            return Err(Refusal::bad(format!("`confirmation_secret` must be at most {MAX_SECRET} bytes long.")));
        }
        Ok(secret.map(str::to_owned))
    }

    /// What is said about the person, at the top or in `submitted_information`, and what of `required` is not. What is
    /// not required and has no form that we keep is passed over.
    pub(super) fn person(
        &self,
        required: &[String],
    ) -> Result<(Vec<PersonalFact>, Vec<PersonalField>), Refusal<Typed>> {
        let submitted = self.all().object("submitted_information", "submitted_information.")?;
        let verified = self.verified_fields()?.unwrap_or_default();
        let (mut said, mut lacking) = (Vec::new(), Vec::new());
        for field in [PersonalField::Name, PersonalField::Phone, PersonalField::Country] {
            let name = field.as_str();
            let needed = required.iter().any(|required| required == name);
            let given = submitted.map(|more| more.text(name)).transpose()?.flatten();
            let given = given.map_or_else(|| self.all().text(name), |given| Ok(Some(given)))?;
            match given.filter(|given| !given.trim().is_empty()) {
                None if needed => lacking.push(field),
                None => {}
                Some(given) => match PersonalFact::new(field, given, verified.contains(&name)) {
                    Ok(fact) => said.push(fact),
                    Err(error) if needed => return Err(Refusal::bad(format!("`{name}`: {error}."))),
                    Err(_) => {}
                },
            }
        }
        Ok((said, lacking))
    }

    fn verified_fields(&self) -> Result<Option<Vec<&str>>, Refusal<Typed>> {
        Ok(self.all().object("kyc", "kyc.")?.map(|kyc| kyc.texts("verified_fields")).transpose()?.flatten())
    }

    /// What an attestation is made of.
    pub(super) fn facts(&self, bytes: &[u8]) -> Result<AccountRequestFacts, Refusal<Typed>> {
        let all = self.all();
        let id = all.text("id")?;
        if id.is_some_and(|id| !(1..=MAX_ID).contains(&id.len()) || id.chars().any(char::is_control)) {
            return Err(Refusal::bad(format!("`id` must have 1 to {MAX_ID} bytes and no control characters.")));
        }
        let verified = self.verified_fields()?;
        // The order of members and the space between them say nothing: a retry may be written anew.
        let canonical = canonical_json(&self.value).unwrap_or_else(|_unwritable| bytes.to_vec());
        Ok(AccountRequestFacts {
            id: id.map(str::to_owned),
            email: self.email.clone(),
            canonical: self.canonical.clone(),
            email_verified: verified.is_none_or(|fields| fields.contains(&"email")),
            expires_at: self.expires_at,
            hash: sha256_base64url(&canonical),
        })
    }

    /// Until when it may be answered.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

/// RFC 3339 with any offset; without one it is UTC.
fn instant(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text).or_else(|_no_offset| Timestamp::parse_rfc3339(&format!("{text}Z"))).ok()
}

fn no_instant(name: &str) -> Refusal<Typed> {
    Refusal::bad(format!("`{name}` must be a date and time as in 2026-10-03T12:10:00Z."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<RequestBody, Refusal<Typed>> {
        let Value::Object(members) = value else { panic!("an object") };
        RequestBody::read(members, Timestamp::parse_rfc3339("2026-10-03T12:00:00Z").unwrap())
    }

    fn good(change: Value) -> RequestBody {
        let mut body = json!({"email": "dana@example.com"});
        let Value::Object(change) = change else { panic!("an object") };
        body.as_object_mut().unwrap().extend(change);
        read(body).unwrap()
    }

    #[test]
    fn three_forms_of_a_date_are_one_instant_and_an_impossible_one_is_none() {
        let wanted = Timestamp::parse_rfc3339("2026-10-03T12:10:00Z").unwrap();
        for text in
            ["2026-10-03T12:10:00Z", "2026-10-03T14:10:00+02:00", "2026-10-03T12:10:00", "2026-10-03T12:10:00.0"]
        {
            assert_eq!(good(json!({"expires_at": text})).expires_at(), Some(wanted), "{text}");
        }
        for text in ["2026-13-03T12:10:00Z", "2026-13-03T12:10:00", "tomorrow", "", "2026-10-03", "1790000000"] {
            let refused = read(json!({"email": "dana@example.com", "expires_at": text})).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.code), (400, "invalid_request"), "{text}");
        }
        for text in ["2026-10-03T12:00:00Z", "2026-10-03T11:59:59", "2026-10-03T13:59:59+02:00"] {
            let refused = read(json!({"email": "dana@example.com", "expires_at": text})).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.code), (400, "expired"), "{text}");
        }
    }

    #[test]
    fn null_is_absence_and_a_wrong_type_is_refused() {
        let nothing = json!({"expires_at": null, "code_challenge": null, "code_challenge_method": null, "kyc": null,
            "configuration": null, "actor": null, "scopes": null, "confirmation_secret": null, "id": null, "name": null});
        let body = good(nothing);
        assert!(body.check_rest().is_ok() && body.code_challenge().unwrap().is_none());
        assert_eq!(body.scopes().unwrap(), None);
        assert!(body.confirmation_secret().unwrap().is_none() && body.facts(b"").unwrap().id.is_none());
        for (name, value) in
            [("configuration", json!([])), ("actor", json!("x")), ("name", json!(1)), ("country", json!({}))]
        {
            assert!(good(json!({name: value})).check_rest().is_err(), "{name}");
        }
        assert!(good(json!({"scopes": "budget:read"})).scopes().is_err());
        assert!(good(json!({"scopes": [1]})).scopes().is_err());
        assert!(good(json!({"kyc": {"verified_fields": "email"}})).facts(b"").is_err());
        assert!(good(json!({"id": 7})).facts(b"").is_err() && good(json!({"id": ""})).facts(b"").is_err());
        for email in [json!(null), json!(""), json!(1), json!(["a@b.example"]), json!("nobody")] {
            assert!(read(json!({"email": email})).is_err());
        }
    }

    #[test]
    fn what_is_lacking_is_named_and_may_come_in_either_place() {
        let required = ["name".to_owned(), "country".to_owned()];
        let (said, lacking) = good(json!({"name": " ", "phone": "+1"})).person(&required).unwrap();
        assert_eq!(lacking, [PersonalField::Name, PersonalField::Country]);
        assert_eq!(said.iter().map(PersonalFact::field).collect::<Vec<_>>(), [PersonalField::Phone]);
        let more = json!({"name": "Dana", "submitted_information": {"country": "DE"}});
        let (said, lacking) = good(more).person(&required).unwrap();
        assert!(said.len() == 2 && lacking.is_empty());
        let long = json!({"name": "Dana", "country": "Germany"});
        assert!(good(long.clone()).person(&required).is_err());
        assert_eq!(good(long).person(&[]).unwrap().0.len(), 1, "what is not needed may be odd, and is not kept");
    }

    #[test]
    fn an_address_that_is_not_among_the_verified_ones_is_unverified() {
        let verified = |kyc: Value| good(json!({"kyc": kyc})).facts(b"").unwrap().email_verified;
        assert!(verified(json!({})) && verified(json!({"verified_fields": ["name", "email"]})));
        assert!(!verified(json!({"verified_fields": ["name"]})) && !verified(json!({"verified_fields": []})));
    }

    #[test]
    fn a_retry_may_write_its_members_in_another_order() {
        let one = good(json!({"id": "a", "name": "b"})).facts(b"1").unwrap().hash;
        assert_eq!(one, good(json!({"name": "b", "id": "a"})).facts(b"2").unwrap().hash);
        assert_ne!(one, good(json!({"id": "a", "name": "c"})).facts(b"1").unwrap().hash);
    }
}
