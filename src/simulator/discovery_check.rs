//! Following a 401 (RFC 6750 §3, RFC 9728 §5, RFC 8414): what the challenge, the resource and the authorization server
//! say must agree, or the agent goes no further.

use serde_json::Value;
use url::Url;

/// What a `WWW-Authenticate: Bearer` challenge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) resource_metadata: Url,
    pub(super) scope: Vec<String>,
    pub(super) error: Option<String>,
}

/// Reads the challenge. Its metadata must stand on the origin that was asked: a stranger's document proves nothing.
pub(super) fn read_challenge(header: &str, asked: &Url) -> Result<Challenge, String> {
    let rest = header.strip_prefix("Bearer ").ok_or("the challenge is not for Bearer")?;
    let said = parameters(rest).ok_or("the challenge is not well formed")?;
    let parameter = |name: &str| said.iter().find(|(said, _)| said == name).map(|(_, value)| value.clone());
    let needed = |name: &str| parameter(name).ok_or_else(|| format!("the challenge has no `{name}`"));
    let resource_metadata: Url =
        needed("resource_metadata")?.parse().map_err(|_bad| "`resource_metadata` is not a URL".to_owned())?;
    if resource_metadata.origin() != asked.origin() {
        return Err("`resource_metadata` leads to another origin".to_owned());
    }
    let scope = needed("scope")?.split(' ').map(str::to_owned).collect();
    Ok(Challenge { realm: needed("realm")?, resource_metadata, scope, error: parameter("error") })
}

/// `name="value", …` with quoted values; `None` when it is not that.
fn parameters(mut rest: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        found.push((name.trim().to_owned(), value.to_owned()));
        match after.trim_start() {
            "" => return Some(found),
            more => rest = more.strip_prefix(',')?.trim_start(),
        }
    }
}

/// The protected-resource metadata is about the resource that challenged, and names the challenge's issuer.
pub(super) fn check_resource(document: &Value, api: &str, challenge: &Challenge) -> Result<String, String> {
    if document.get("resource").and_then(Value::as_str) != Some(api) {
        return Err(format!("`resource` is not `{api}`"));
    }
    if !strings(document, "authorization_servers").contains(&challenge.realm.as_str()) {
        return Err("`authorization_servers` does not name the challenge's realm".to_owned());
    }
    let supported = strings(document, "scopes_supported");
    if !challenge.scope.iter().all(|scope| supported.contains(&scope.as_str())) {
        return Err("the challenge asks for a scope that is not in `scopes_supported`".to_owned());
    }
    Ok(challenge.realm.clone())
}

/// The authorization-server metadata is that of `issuer`, and takes attestations.
pub(super) fn check_server(document: &Value, issuer: &str, api: &str) -> Result<(), String> {
    let text = |member: &str| document.get(member).and_then(Value::as_str).unwrap_or("");
    if text("issuer") != issuer {
        return Err(format!("`issuer` is not `{issuer}`"));
    }
    for member in ["token_endpoint", "jwks_uri"] {
        if !text(member).strip_prefix(issuer).is_some_and(|path| path.starts_with('/')) {
            return Err(format!("`{member}` is not at the issuer"));
        }
    }
    let jwt_bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    if !strings(document, "grant_types_supported").contains(&jwt_bearer) {
        return Err("the grant for attestations (RFC 7523) is not supported".to_owned());
    }
    // RFC 9728 §4: where the server lists its resources, ours must be among them.
    let listed = strings(document, "protected_resources");
    if !listed.is_empty() && !listed.contains(&api) {
        return Err(format!("`protected_resources` does not name `{api}`"));
    }
    Ok(())
}

fn strings<'v>(document: &'v Value, member: &str) -> Vec<&'v str> {
    let list = document.get(member).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEADER: &str = "Bearer realm=\"http://p\", \
        resource_metadata=\"http://p/.well-known/oauth-protected-resource/v1\", scope=\"a:read b:write\"";

    fn asked() -> Url {
        "http://p/v1/resources".parse().unwrap()
    }

    #[test]
    fn a_challenge_is_read_whole_and_never_leads_elsewhere() {
        let challenge = read_challenge(HEADER, &asked()).unwrap();
        assert_eq!((challenge.realm.as_str(), challenge.scope.len(), challenge.error), ("http://p", 2, None));
        let elsewhere: Url = "http://q/v1/resources".parse().unwrap();
        assert!(read_challenge(HEADER, &elsewhere).is_err());
        for bad in ["Basic realm=\"x\"", "Bearer", "Bearer realm=\"http://p\"", "Bearer realm=x"] {
            assert!(read_challenge(bad, &asked()).is_err(), "{bad}");
        }
    }

    #[test]
    fn documents_that_disagree_are_refused() {
        let challenge = read_challenge(HEADER, &asked()).unwrap();
        let resource = json!({"resource": "http://p/v1", "authorization_servers": ["http://p"],
            "scopes_supported": ["a:read", "b:write"]});
        assert!(check_resource(&resource, "http://p/v1", &challenge).is_ok());
        for (member, other) in [
            ("resource", json!("http://q/v1")),
            ("authorization_servers", json!(["http://q"])),
            ("scopes_supported", json!(["a:read"])),
        ] {
            let mut changed = resource.clone();
            changed[member] = other;
            assert!(check_resource(&changed, "http://p/v1", &challenge).is_err(), "{member}");
        }
        let server = json!({"issuer": "http://p", "token_endpoint": "http://p/oauth/token",
            "jwks_uri": "http://p/oauth/jwks", "protected_resources": ["http://p/v1"],
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]});
        assert!(check_server(&server, "http://p", "http://p/v1").is_ok());
        for (member, other) in [
            ("issuer", json!("http://p/")),
            ("token_endpoint", json!("http://p.evil/oauth/token")),
            ("grant_types_supported", json!([])),
            ("protected_resources", json!(["http://p/v2"])),
        ] {
            let mut changed = server.clone();
            changed[member] = other;
            assert!(check_server(&changed, "http://p", "http://p/v1").is_err(), "{member}");
        }
    }
}
