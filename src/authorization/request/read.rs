//! Reading a request: first who asks and where the answer goes, which decides whether anything may be sent there at all;
//! then everything else, whose mistakes the client hears of at that address (RFC 6749 §4.1.2.1).

use super::AuthorizationRequest;
use super::details::Detail;
use crate::authorization::client::{Client, GrantType};
use crate::authorization::pkce::CodeChallenge;

/// The longest request, in bytes.
const MAX_LENGTH: usize = 16 * 1024;
/// The longest `state`, in bytes.
const MAX_STATE: usize = 2048;
/// The longest list of scopes that is kept, in bytes.
const MAX_SCOPES: usize = 1024;
/// What is asked for when nothing is: to look.
const DEFAULT_SCOPE: &str = "resources:read budget:read";
/// What may stand in a request once at most.
const ONCE: [&str; 14] = [
    "response_type",
    "response_mode",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "authorization_details",
    "prompt",
    "max_age",
    "optional_scopes",
    "dpop_jkt",
    "request",
    "request_uri",
    "nonce",
];

/// The parameters of a request, in their order. One without a value is one that was left out (RFC 6749 §3.1).
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query or a form; `None` when it is too long.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let pairs = || url::form_urlencoded::parse(text).into_owned().filter(|(_, value)| !value.is_empty());
        (text.len() <= MAX_LENGTH).then(|| Self(pairs().collect()))
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The only value of a parameter.
    ///
    /// # Errors
    /// When it stands there twice.
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::new("invalid_request", format!("`{name}` stands there twice.")));
        }
        Ok(first)
    }
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code (RFC 6749 §4.1.2.1 and its extensions).
    pub code: &'static str,
    /// For whoever reads it.
    pub description: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { code, description: description.into() }
    }
}

/// Where an answer goes, with what is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The redirect URI.
    pub redirect_uri: String,
    /// Given back verbatim.
    pub state: Option<String>,
}

/// Why nothing is sent anywhere: the human sees a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// `redirect_uri` stands there twice, or is missing where it is needed.
    #[error("the request does not say where the answer goes")]
    Missing,
    /// It is none of the client's.
    #[error("the client has not registered this redirect URI")]
    Foreign,
}

impl Target {
    /// Where the answer to `params` goes, if that is the client's own.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn of(params: &Params, client: &Client) -> Result<Self, TargetError> {
        let asked = params.one("redirect_uri").map_err(|_twice| TargetError::Missing)?;
        let unknown = if asked.is_some() { TargetError::Foreign } else { TargetError::Missing };
        let redirect_uri = client.redirect_uri(asked).ok_or(unknown)?;
        // A state that stands there twice is no state; the request is refused for it later.
        let state = params.one("state").ok().flatten().filter(|state| state.len() <= MAX_STATE).map(str::to_owned);
        Ok(Self { redirect_uri, state })
    }

    /// The address with the answer to it: `parameters`, then `state` and `iss` (RFC 9207).
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)], issuer: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
        let mark = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{mark}{}", self.redirect_uri, query.finish())
    }
}

/// Reads everything else, for the API `resource`.
///
/// # Errors
/// What the client is told.
pub fn read_request(
    params: &Params,
    client: &Client,
    target: &Target,
    resource: &str,
) -> Result<AuthorizationRequest, Refusal> {
    for name in ONCE {
        params.one(name)?;
    }
    if params.one("request")?.is_some() {
        return Err(Refusal::new("request_not_supported", "Push the request instead (RFC 9126)."));
    }
    if params.one("request_uri")?.is_some() {
        return Err(Refusal::new("invalid_request", "`request_uri` does not stand beside other parameters."));
    }
    if params.one("response_type")? != Some("code") {
        return Err(Refusal::new("unsupported_response_type", "`response_type` is `code`."));
    }
    if params.one("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(Refusal::new("invalid_request", "`response_mode` is `query`."));
    }
    if params.one("state")?.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(Refusal::new("invalid_request", "`state` is longer than 2048 bytes."));
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(Refusal::new("unauthorized_client", "The client is not registered for codes."));
    }
    if prompts(params, "none")? {
        return Err(Refusal::new("interaction_required", "Nothing is allowed here without a human who looks at it."));
    }
    Ok(AuthorizationRequest {
        client: client.id.clone(),
        client_name: client.called(),
        client_digest: client.digest(),
        redirect_uri: target.redirect_uri.clone(),
        state: target.state.clone(),
        resource: resource_of(params, resource)?,
        scopes: scopes_of(params, client)?,
        details: details_of(params, resource)?,
        code_challenge: challenge_of(params)?,
        bound_to: bound_to(params)?,
        max_age: max_age(params)?,
        optional_scopes: optional_scopes(params, client)?,
        prompt_consent: prompts(params, "consent")?,
    })
}

fn prompts(params: &Params, wanted: &str) -> Result<bool, Refusal> {
    Ok(params.one("prompt")?.is_some_and(|prompt| prompt.split(' ').any(|word| word == wanted)))
}

/// A parameter of our own: what the request says goes before what the client's metadata says.
fn optional_scopes(params: &Params, client: &Client) -> Result<Option<String>, Refusal> {
    let said = params.one("optional_scopes")?.or(client.metadata.optional_scopes.as_deref());
    if said.is_some_and(|said| said.len() > MAX_SCOPES) {
        return Err(Refusal::new("invalid_request", "`optional_scopes` is longer than 1024 bytes."));
    }
    Ok(said.map(str::to_owned))
}

/// RFC 8707: the one API that there is, or nothing.
fn resource_of(params: &Params, resource: &str) -> Result<String, Refusal> {
    if params.all("resource").all(|asked| asked == resource) {
        return Ok(resource.to_owned());
    }
    Err(Refusal::new("invalid_target", format!("`resource` is `{resource}`.")))
}

fn scopes_of(params: &Params, client: &Client) -> Result<crate::authorization::Scopes, Refusal> {
    let scopes = client.scopes(Some(params.one("scope")?.unwrap_or(DEFAULT_SCOPE)));
    if scopes.is_empty() {
        return Err(Refusal::new("invalid_scope", "None of the scopes can be given to this client."));
    }
    Ok(scopes)
}

fn details_of(params: &Params, resource: &str) -> Result<Vec<Detail>, Refusal> {
    let Some(text) = params.one("authorization_details")? else { return Ok(Vec::new()) };
    Detail::read(text, resource).map_err(|error| Refusal::new("invalid_authorization_details", format!("{error}.")))
}

/// Left out, `code_challenge_method` would be `plain` (RFC 7636 §4.3), which proves nothing to whoever saw the request.
fn challenge_of(params: &Params) -> Result<CodeChallenge, Refusal> {
    let wrong = |why: &str| Refusal::new("invalid_request", why.to_owned());
    let challenge = params.one("code_challenge")?.ok_or_else(|| wrong("`code_challenge` is missing (RFC 7636)."))?;
    if params.one("code_challenge_method")? != Some("S256") {
        return Err(wrong("`code_challenge_method` is `S256`."));
    }
    let parsed: CodeChallenge = challenge.parse().map_err(|error| wrong(&format!("`code_challenge`: {error}.")))?;
    // SHA-256 in base64url has 43 characters: what is longer is no S256 challenge.
    if parsed.as_str().len() == 43 { Ok(parsed) } else { Err(wrong("`code_challenge` is no S256 challenge.")) }
}

fn bound_to(params: &Params) -> Result<Option<String>, Refusal> {
    let Some(thumbprint) = params.one("dpop_jkt")? else { return Ok(None) };
    let plain = thumbprint.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if thumbprint.len() == 43 && plain {
        return Ok(Some(thumbprint.to_owned()));
    }
    Err(Refusal::new("invalid_request", "`dpop_jkt` is the thumbprint of a key (RFC 9449 §10)."))
}

fn max_age(params: &Params) -> Result<Option<i64>, Refusal> {
    let fresh = prompts(params, "login")?;
    let stated = params.one("max_age")?.map(str::parse::<u32>).transpose();
    let stated = stated.map_err(|_no_number| Refusal::new("invalid_request", "`max_age` is a number of seconds."))?;
    Ok(if fresh { Some(0) } else { stated.map(i64::from) })
}

#[cfg(test)]
mod tests {
    use super::super::super::client::example;
    use super::*;
    use serde_json::json;

    const API: &str = "https://p.example/v1";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client() -> Client {
        example(json!({"redirect_uris": ["https://a.example/cb"]}))
    }

    fn read(change: &[(&str, Option<&str>)]) -> Result<AuthorizationRequest, &'static str> {
        let mut pairs = vec![
            ("response_type", "code"),
            ("redirect_uri", "https://a.example/cb"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in change {
            pairs.retain(|(known, _)| known != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        read_pairs(&pairs)
    }

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<AuthorizationRequest, &'static str> {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let params = Params::parse(text.as_bytes()).unwrap();
        let target = Target::of(&params, &client()).unwrap();
        read_request(&params, &client(), &target, API).map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_is_left_out_gets_safe_defaults() {
        let request = read(&[]).unwrap();
        assert_eq!((request.resource.as_str(), request.scopes.to_string()), (API, DEFAULT_SCOPE.to_owned()));
        assert_eq!((request.state, request.max_age, request.bound_to), (None, None, None));
        let other = read(&[("scope", Some("offline_access openid budget:read")), ("prompt", Some("login consent"))]);
        let other = other.unwrap();
        assert_eq!((other.scopes.to_string().as_str(), other.max_age), ("budget:read", Some(0)));
        assert!(other.prompt_consent && !request.prompt_consent);
    }

    #[test]
    fn a_client_that_says_what_it_can_do_without_makes_the_rest_a_condition_but_never_what_is_dangerous() {
        let required = |scope: &str, optional: Option<&str>| {
            let read = read(&[("scope", Some(scope)), ("optional_scopes", optional)]).unwrap();
            read.required().to_string()
        };
        assert_eq!(required("resources:read budget:read", None), "", "nothing said: the human decides");
        assert_eq!(required("resources:read budget:read", Some("budget:read")), "resources:read");
        assert_eq!(required("resources:write resources:delete dashboard:link", Some("x")), "resources:write");
        assert_eq!(required(&crate::authorization::Scopes::all().to_string(), Some("budget:read")), "", "everything");
    }

    #[test]
    fn each_mistake_has_its_code() {
        for (name, value, code) in [
            ("response_type", None, "unsupported_response_type"),
            ("response_type", Some("token"), "unsupported_response_type"),
            ("response_type", Some("code id_token"), "unsupported_response_type"),
            ("response_mode", Some("fragment"), "invalid_request"),
            ("code_challenge", None, "invalid_request"),
            ("code_challenge", Some("short"), "invalid_request"),
            ("code_challenge_method", None, "invalid_request"),
            ("code_challenge_method", Some("plain"), "invalid_request"),
            ("code_challenge_method", Some("s256"), "invalid_request"),
            ("resource", Some("https://elsewhere.example"), "invalid_target"),
            ("resource", Some("https://p.example/v1#x"), "invalid_target"),
            ("resource", Some("https://p.example/v1/"), "invalid_target"),
            ("scope", Some("admin"), "invalid_scope"),
            ("authorization_details", Some("[{\"type\":\"x\"}]"), "invalid_authorization_details"),
            ("prompt", Some("none"), "interaction_required"),
            ("max_age", Some("soon"), "invalid_request"),
            ("dpop_jkt", Some("x"), "invalid_request"),
            ("request", Some("a.b.c"), "request_not_supported"),
            ("request_uri", Some("https://a.example/r"), "invalid_request"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err(), code, "{name}={value:?}");
        }
        let long = "a".repeat(2049);
        assert_eq!(read(&[("state", Some(&long))]).unwrap_err(), "invalid_request");
        let verifier = format!("{CHALLENGE}a");
        assert_eq!(read(&[("code_challenge", Some(&verifier))]).unwrap_err(), "invalid_request");
    }

    #[test]
    fn what_stands_there_twice_is_refused_and_a_resource_may_be_repeated() {
        let good = [
            ("response_type", "code"),
            ("redirect_uri", "https://a.example/cb"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for name in ONCE {
            let twice: Vec<_> =
                good.iter().copied().filter(|(known, _)| *known != name).chain([(name, "a"), (name, "a")]).collect();
            assert_eq!(read_pairs(&twice).unwrap_err(), "invalid_request", "{name}");
        }
        let two: Vec<_> = good.iter().copied().chain([("resource", API), ("resource", API)]).collect();
        assert!(read_pairs(&two).is_ok());
        let other: Vec<_> =
            good.iter().copied().chain([("resource", API), ("resource", "https://x.example")]).collect();
        assert_eq!(read_pairs(&other).unwrap_err(), "invalid_target");
    }

    #[test]
    fn an_answer_names_its_issuer_and_gives_the_state_back() {
        let target = Target { redirect_uri: "https://a.example/cb?x=1".to_owned(), state: Some("a b&c".to_owned()) };
        let url = target.with(&[("code", "c")], "https://p.example");
        assert_eq!(url, "https://a.example/cb?x=1&code=c&state=a+b%26c&iss=https%3A%2F%2Fp.example");
    }
}
