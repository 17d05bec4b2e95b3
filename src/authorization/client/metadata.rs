//! What a client says of itself (RFC 7591 §2): the same members whoever wrote them, read with the same rules.

use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, ThumbprintHash};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::redirect_uri::RedirectUri;
use crate::secret::sha256_base64url;
use crate::signing::{VerifyingKey, canonical_json};

/// The most redirect URIs of one client.
const MAX_REDIRECT_URIS: usize = 16;
/// The most keys of one client.
const MAX_KEYS: usize = 16;
/// The longest name, in characters.
const MAX_NAME: usize = 80;

/// How a client proves who it is (RFC 7591 §2, `token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// It does not.
    None,
    /// A secret in `Authorization: Basic`; in the form it is taken as well.
    ClientSecretBasic,
    /// A secret in the form; in `Authorization: Basic` it is taken as well.
    ClientSecretPost,
    /// A statement signed with its key (RFC 7523 §2.2).
    PrivateKeyJwt,
}

/// A grant that a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749 §4.1.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749 §6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749 §4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 7523 §2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// RFC 8628 §3.4.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
}

/// The public keys of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKeys {
    /// These.
    Jwks(Vec<VerifyingKey>),
    /// Those at this address.
    JwksUri(Url),
}

/// What a client says of itself. Read by [`ClientMetadata::read`]; what is stored was read before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// What it calls itself. Nobody checked it.
    pub name: Option<String>,
    /// Where answers may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it proves who it is.
    pub auth_method: AuthMethod,
    /// The grants that it uses.
    pub grant_types: Vec<GrantType>,
    /// The scopes that it may have at most; all when absent.
    pub scope: Option<String>,
    /// Its keys.
    pub keys: Option<ClientKeys>,
    /// Whether its tokens are bound to a key, always (RFC 9449 §5.2).
    pub dpop_bound: bool,
    /// Where its picture is. Never shown: anybody can draw anybody's. Part of who it is all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// The scopes without which it works as well, parted by spaces (a member of our own). Absent: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional_scopes: Option<String>,
}

/// Why the metadata is not taken (RFC 7591 §3.2.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A redirect URI.
    #[error("`redirect_uris`: {0}")]
    RedirectUri(String),
    /// Anything else.
    #[error("`{0}`: {1}")]
    Member(&'static str, String),
}

impl MetadataError {
    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RedirectUri(_) => "invalid_redirect_uri",
            Self::Member(..) => "invalid_client_metadata",
        }
    }
}

fn wrong(member: &'static str, why: impl Into<String>) -> MetadataError {
    MetadataError::Member(member, why.into())
}

/// A member, where `null` is absence.
fn member<T: serde::de::DeserializeOwned>(
    members: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<T>, MetadataError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|error| wrong(name, error.to_string())),
    }
}

impl ClientMetadata {
    /// Reads what a client says of itself. Members that nobody knows are passed over (RFC 7591 §2).
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn read(document: &Value) -> Result<Self, MetadataError> {
        let members = document.as_object().ok_or_else(|| wrong("client_id", "the metadata is no JSON object"))?;
        let grant_types = grant_types(members)?;
        let auth_method = match member::<String>(members, "token_endpoint_auth_method")?.as_deref() {
            None | Some("none") => AuthMethod::None,
            Some("client_secret_basic") => AuthMethod::ClientSecretBasic,
            Some("client_secret_post") => AuthMethod::ClientSecretPost,
            Some("private_key_jwt") => AuthMethod::PrivateKeyJwt,
            Some(other) => return Err(wrong("token_endpoint_auth_method", format!("`{other}` is not spoken here"))),
        };
        let read = Self {
            name: name(members)?,
            redirect_uris: redirect_uris(members, &grant_types)?,
            auth_method,
            scope: text(members, "scope")?,
            keys: keys(members)?,
            dpop_bound: member(members, "dpop_bound_access_tokens")?.unwrap_or(false),
            logo_uri: text(members, "logo_uri")?,
            optional_scopes: text(members, "optional_scopes")?,
            grant_types,
        };
        if read.auth_method == AuthMethod::PrivateKeyJwt && read.keys.is_none() {
            return Err(wrong("jwks", "private_key_jwt needs `jwks` or `jwks_uri`"));
        }
        if read.auth_method == AuthMethod::None && read.grant_types.contains(&GrantType::ClientCredentials) {
            return Err(wrong("grant_types", "a client that proves nothing gets nothing for itself"));
        }
        Ok(read)
    }

    /// The same for a registration: whoever wants codes says where they go. A document without redirect URIs is a client
    /// that gets no codes.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn read_registration(document: &Value) -> Result<Self, MetadataError> {
        let read = Self::read(document)?;
        if read.redirect_uris.is_empty() && read.grant_types.contains(&GrantType::AuthorizationCode) {
            return Err(MetadataError::RedirectUri("at least one is needed".to_owned()));
        }
        Ok(read)
    }

    /// As RFC 7591 writes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = json!({
            "redirect_uris": self.redirect_uris, "token_endpoint_auth_method": self.auth_method,
            "grant_types": self.grant_types,
        });
        if let Value::Object(members) = &mut members {
            if self.grant_types.contains(&GrantType::AuthorizationCode) {
                members.insert("response_types".to_owned(), json!(["code"]));
            }
            let texts = [
                ("client_name", &self.name),
                ("scope", &self.scope),
                ("logo_uri", &self.logo_uri),
                ("optional_scopes", &self.optional_scopes),
            ];
            for (name, value) in texts {
                if let Some(value) = value {
                    members.insert(name.to_owned(), json!(value));
                }
            }
            match &self.keys {
                Some(ClientKeys::Jwks(keys)) => members.insert("jwks".to_owned(), json!({"keys": keys})),
                Some(ClientKeys::JwksUri(url)) => members.insert("jwks_uri".to_owned(), json!(url)),
                None => None,
            };
            if self.dpop_bound {
                members.insert("dpop_bound_access_tokens".to_owned(), json!(true));
            }
        }
        members
    }

    /// Names everything that a human's decision rests on: name, picture, redirect URIs, proof, and keys by their
    /// thumbprints (RFC 7638). Their order does not matter.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut redirects: Vec<&str> = self.redirect_uris.iter().map(RedirectUri::as_str).collect();
        redirects.sort_unstable();
        let keys = match &self.keys {
            Some(ClientKeys::Jwks(keys)) => thumbprints(keys),
            Some(ClientKeys::JwksUri(url)) => vec![url.to_string()],
            None => Vec::new(),
        };
        let facts = json!([self.name, self.logo_uri, redirects, self.auth_method, keys, self.dpop_bound]);
        // A list of plain values is always JSON.
        canonical_json(&facts).map_or_else(|_| String::new(), |bytes| sha256_base64url(&bytes))
    }
}

/// In order.
fn thumbprints(keys: &[VerifyingKey]) -> Vec<String> {
    let of = |key: &VerifyingKey| {
        // A key without a thumbprint is named by all of itself.
        key.thumbprint(ThumbprintHash::SHA256).unwrap_or_else(|_| json!(key).to_string())
    };
    let mut names: Vec<String> = keys.iter().map(of).collect();
    names.sort_unstable();
    names
}

/// A text that is kept for later; one that nobody would write is as good as none.
fn text(members: &Map<String, Value>, name: &'static str) -> Result<Option<String>, MetadataError> {
    Ok(member(members, name)?.filter(|text: &String| !text.is_empty() && text.len() <= 1024))
}

fn grant_types(members: &Map<String, Value>) -> Result<Vec<GrantType>, MetadataError> {
    let Some(words) = member::<Vec<String>>(members, "grant_types")? else {
        return Ok(vec![GrantType::AuthorizationCode, GrantType::RefreshToken]);
    };
    // Those of other servers are left out, and the answer says what was taken (RFC 7591 §3.2.1).
    let mut known: Vec<GrantType> = Vec::new();
    for word in words.into_iter().take(16) {
        match serde_json::from_value(Value::String(word)) {
            Ok(grant) if !known.contains(&grant) => known.push(grant),
            _ => {}
        }
    }
    if known.is_empty() { Err(wrong("grant_types", "none of them is spoken here")) } else { Ok(known) }
}

fn redirect_uris(members: &Map<String, Value>, grants: &[GrantType]) -> Result<Vec<RedirectUri>, MetadataError> {
    let given = member::<Vec<String>>(members, "redirect_uris")?.unwrap_or_default();
    let needed = grants.contains(&GrantType::AuthorizationCode);
    if given.len() > MAX_REDIRECT_URIS {
        return Err(MetadataError::RedirectUri(format!("give at most {MAX_REDIRECT_URIS}")));
    }
    if let Some(types) = member::<Vec<String>>(members, "response_types")?
        && needed
        && !types.iter().any(|kind| kind == "code")
    {
        return Err(wrong("response_types", "only `code` is spoken here"));
    }
    given.iter().map(|text| text.parse().map_err(|error| MetadataError::RedirectUri(format!("{error}")))).collect()
}

/// A name that is shown as text, never as markup. One that plays tricks with its direction is no name.
fn name(members: &Map<String, Value>) -> Result<Option<String>, MetadataError> {
    let Some(name) = member::<String>(members, "client_name")? else { return Ok(None) };
    let name = name.trim();
    let plain = name.chars().count() <= MAX_NAME && crate::unseen::unseen(name).is_none();
    if !plain {
        return Err(wrong("client_name", format!("at most {MAX_NAME} visible characters")));
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

fn keys(members: &Map<String, Value>) -> Result<Option<ClientKeys>, MetadataError> {
    let uri: Option<Url> = member(members, "jwks_uri")?;
    match (members.get("jwks"), uri) {
        (None | Some(Value::Null), None) => Ok(None),
        (None | Some(Value::Null), Some(uri)) => Ok(Some(ClientKeys::JwksUri(uri))),
        (Some(_), Some(_)) => Err(wrong("jwks", "give `jwks` or `jwks_uri`, not both")),
        (Some(set), None) => read_set(set).map(|keys| Some(ClientKeys::Jwks(keys))),
    }
}

/// The keys of a set (RFC 7517 §5) that can verify. A set that holds a private or symmetric key is refused: it is no
/// secret any more.
pub(super) fn read_set(set: &Value) -> Result<Vec<VerifyingKey>, MetadataError> {
    let keys = set.get("keys").and_then(Value::as_array).ok_or_else(|| wrong("jwks", "it has no `keys`"))?;
    let mut good = Vec::new();
    for key in keys.iter().take(MAX_KEYS) {
        if ["d", "k"].into_iter().any(|private| key.get(private).is_some()) {
            return Err(wrong("jwks", "it holds a key that is no public one"));
        }
        match serde_json::from_value::<VerifyingKey>(key.clone()) {
            Ok(key) if !matches!(key.algorithm, AlgorithmParameters::OctetKey(_)) => good.push(bare(key)),
            _ => {}
        }
    }
    if good.is_empty() { Err(wrong("jwks", "it has no key that can verify")) } else { Ok(good) }
}

/// A key with what verifying needs: certificates (RFC 7517 §4.6 to §4.9) are nothing that anybody here reads.
fn bare(key: VerifyingKey) -> VerifyingKey {
    let CommonParameters { public_key_use, key_algorithm, key_id, .. } = key.common;
    let common = CommonParameters { public_key_use, key_algorithm, key_id, ..CommonParameters::default() };
    VerifyingKey { common, ..key }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CB: &str = "https://a.example/cb";

    #[expect(clippy::needless_pass_by_value, reason = "the documents are made where it is called")]
    fn refused(document: Value) -> &'static str {
        ClientMetadata::read(&document).unwrap_err().code()
    }

    #[test]
    fn what_is_left_out_gets_safe_defaults() {
        let read = ClientMetadata::read(&json!({"redirect_uris": [CB], "logo_uri": "https://x/y", "scope": null}));
        let read = read.unwrap();
        assert_eq!(read.auth_method, AuthMethod::None);
        assert_eq!(read.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
        assert_eq!((read.name, read.scope, read.keys, read.dpop_bound), (None, None, None, false));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_code() {
        let good = json!({"redirect_uris": [CB]});
        assert!(ClientMetadata::read(&good).is_ok());
        let none = ClientMetadata::read_registration(&json!({})).unwrap_err();
        assert_eq!(none.code(), "invalid_redirect_uri");
        assert!(ClientMetadata::read(&json!({})).is_ok());
        assert_eq!(refused(json!({"redirect_uris": ["http://a.example/cb"]})), "invalid_redirect_uri");
        assert_eq!(refused(json!({"redirect_uris": vec![CB; 17]})), "invalid_redirect_uri");
        let with = |member: &str, value: Value| {
            let mut document = good.clone();
            document[member] = value;
            refused(document)
        };
        for (member, value) in [
            ("token_endpoint_auth_method", json!("client_secret_jwt")),
            ("token_endpoint_auth_method", json!("private_key_jwt")),
            ("grant_types", json!(["implicit", "password"])),
            ("grant_types", json!(["client_credentials"])),
            ("response_types", json!(["token"])),
            ("client_name", json!("a\u{202e}b")),
            ("client_name", json!("a".repeat(81))),
            ("jwks", json!({"keys": [{"kty": "oct", "k": "AAAA"}]})),
            ("jwks", json!({"keys": []})),
        ] {
            assert_eq!(with(member, value.clone()), "invalid_client_metadata", "{member}: {value}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        let document = json!({
            "redirect_uris": [CB], "client_name": "A", "scope": "budget:read", "dpop_bound_access_tokens": true,
            "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://a.example/keys",
        });
        let read = ClientMetadata::read(&document).unwrap();
        assert_eq!(ClientMetadata::read(&read.to_json()).unwrap(), read);
        let mut other = read.clone();
        other.redirect_uris = vec!["https://a.example/other".parse().unwrap()];
        assert_ne!(other.digest(), read.digest());
        other.clone_from(&read);
        other.scope = None;
        other.optional_scopes = Some("budget:read".to_owned());
        assert_eq!(other.digest(), read.digest(), "a wish is no part of who it is");
        other.logo_uri = Some("https://a.example/logo".to_owned());
        assert_ne!(other.digest(), read.digest());
    }
}
