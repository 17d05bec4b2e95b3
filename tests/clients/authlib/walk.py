"""Unmodified Authlib: code with PKCE, refresh, revocation, introspection, and client_credentials with private_key_jwt."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc.jwk import ECKey, KeySet
import requests

from human import Human

with open(sys.argv[1], encoding="utf-8") as file:
    demo = json.load(file)
base = demo["base_url"]
api = f"{base}/v1"
ada = Human(base, demo["session"])
program = os.environ.get("PORTREEVE", str(Path(__file__).parents[3] / "target/release/portreeve"))


def operator(*words: str) -> dict:
    """The operator, beside the running demo: what a command says in JSON."""
    folder = Path(demo["folder"])
    settings = {
        "PORTREEVE__DATABASE__URL": f"sqlite:{folder / 'demo.db'}",
        "PORTREEVE__KEYS__MASTER_KEY_FILE": str(folder / "portreeve.key"),
        "PORTREEVE__USAGE__METER_KEY_FILE": str(folder / "meter.key"),
        "PORTREEVE__CATALOG__FOLDER": str(folder / "catalog"),
    }
    said = subprocess.run([program, "--json", *words], env={**os.environ, **settings}, check=True, capture_output=True, text=True)
    return json.loads(said.stdout)


# Discovery, with Authlib's own reading of RFC 8414.
server = AuthorizationServerMetadata(requests.get(get_well_known_url(base, external=True)).json())
assert server["issuer"] == base
# It takes https addresses only; the demo on loopback has none. Everything else it judges.
for member in ["response_types_supported", "grant_types_supported", "token_endpoint_auth_methods_supported", "code_challenge_methods_supported"]:
    getattr(server, f"validate_{member}")()


def budget(token: str) -> int:
    return requests.get(f"{api}/budget", headers={"authorization": f"Bearer {token}"}).status_code


def ends(refused) -> str:
    """The code with which a call is refused."""
    try:
        refused()
    except AuthlibBaseError as error:
        return error.error
    raise AssertionError("it was not refused")


def begins(client: OAuth2Session) -> tuple[str, dict]:
    verifier = generate_token(48)
    url, state = client.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier, resource=api)
    return url, {"code_verifier": verifier, "resource": api, "state": state}


redirect = "http://127.0.0.1:45333/callback"
for method in ["none", "client_secret_basic", "client_secret_post"]:
    registered = requests.post(
        server["registration_endpoint"],
        json={"client_name": "Authlib", "redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": method},
    ).json()
    client = OAuth2Session(
        registered["client_id"], registered.get("client_secret"), token_endpoint_auth_method=method, scope="budget:read resources:read",
        redirect_uri=redirect, code_challenge_method="S256",
    )
    url, more = begins(client)
    answer = ada.answers(url)
    assert parse_qs(urlsplit(answer).query)["iss"] == [base]
    tokens = client.fetch_token(server["token_endpoint"], authorization_response=answer, **more)
    assert tokens["token_type"] == "Bearer" and set(tokens["scope"].split()) == {"budget:read", "resources:read"}
    assert client.get(f"{api}/budget").status_code == 200

    first = tokens["refresh_token"]
    tokens = client.refresh_token(server["token_endpoint"], refresh_token=first)
    assert tokens["refresh_token"] != first
    assert client.get(f"{api}/budget").status_code == 200
    if method != "none":
        told = client.introspect_token(server["introspection_endpoint"], token=tokens["access_token"]).json()
        assert told["active"] is True and told["client_id"] == registered["client_id"] and told["aud"] == api
    revoked = client.revoke_token(server["revocation_endpoint"], token=tokens["refresh_token"], token_type_hint="refresh_token")
    assert revoked.status_code == 200
    assert budget(tokens["access_token"]) == 401
    if method != "none":
        told = client.introspect_token(server["introspection_endpoint"], token=tokens["access_token"]).json()
        assert told == {"active": False}
    assert ends(lambda: client.refresh_token(server["token_endpoint"], refresh_token=tokens["refresh_token"])) == "invalid_grant"

    # A human who denies; an answer with another state; a verifier of somebody else.
    url, more = begins(client)
    denied = parse_qs(urlsplit(ada.answers(url, "deny")).query)
    assert denied["error"] == ["access_denied"] and denied["state"] == [more["state"]] and "code" not in denied
    url, more = begins(client)
    stolen = ada.answers(url)
    assert ends(lambda: client.fetch_token(
        server["token_endpoint"], authorization_response=stolen, **{**more, "state": "another"}
    )) == "mismatching_state"
    assert ends(lambda: client.fetch_token(
        server["token_endpoint"], authorization_response=stolen, **{**more, "code_verifier": generate_token(48)}
    )) == "invalid_grant"

# A client with a key, which acts for an account without a human.
key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
with tempfile.TemporaryDirectory() as folder:
    jwks = Path(folder) / "jwks.json"
    jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)), encoding="utf-8")
    made = operator(
        "client", "add", "Nightly job", "--auth", "private_key_jwt", "--grant", "client_credentials", "--jwks", str(jwks),
        "--account", demo["account_id"], "--scope", "budget:read",
    )


def machine() -> OAuth2Session:
    """Its statement is for the issuer, as a server may demand, and good for a minute (Authlib's own word is an hour)."""
    signer = PrivateKeyJWT(base, claims={"exp": int(time.time()) + 60}, headers={"kid": key.kid}, alg="ES256")
    made_of = {method: "private_key_jwt" for method in ["token_endpoint_auth_method", "revocation_endpoint_auth_method"]}
    client = OAuth2Session(made["client_id"], key, **made_of)
    client.register_client_auth_method(signer)
    return client


tokens = machine().fetch_token(server["token_endpoint"], grant_type="client_credentials", scope="budget:read")
assert tokens["scope"] == "budget:read" and "refresh_token" not in tokens
assert budget(tokens["access_token"]) == 200
told = machine().introspect_token(server["introspection_endpoint"], token=tokens["access_token"]).json()
assert told["active"] is True and told["client_id"] == made["client_id"]
assert machine().revoke_token(server["revocation_endpoint"], token=tokens["access_token"]).status_code == 200
assert budget(tokens["access_token"]) == 401

print("Authlib: discovery, PKCE, refresh, introspection, revocation, and client_credentials with private_key_jwt agree")
