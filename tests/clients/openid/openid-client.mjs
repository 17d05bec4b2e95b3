// Drives the authorization server with the unmodified `openid-client` package: registration, code with PKCE, pushed
// requests, refresh, DPoP, private_key_jwt, introspection, revocation, refusal.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as client from "openid-client";
import { human } from "./human.mjs";

const demo = JSON.parse(readFileSync(process.argv[2], "utf8"));
const base = demo.base_url;
const api = `${base}/v1`;
const redirect_uri = "http://127.0.0.1/callback";
const scope = "resources:read budget:read";
const ada = human(base, demo.session);
const options = { execute: [client.allowInsecureRequests], algorithm: "oauth2" };
const budget = async (token) => (await fetch(`${api}/budget`, { headers: { authorization: `Bearer ${token}` } })).status;

async function asks(config, more = {}, push = false) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const parameters = {
    redirect_uri, scope, resource: api, state: expectedState, code_challenge_method: "S256",
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), ...more,
  };
  const url = push
    ? await client.buildAuthorizationUrlWithPAR(config, parameters)
    : client.buildAuthorizationUrl(config, parameters);
  return { url, checks: { pkceCodeVerifier, expectedState } };
}

// A public client that registers itself.
{
  const config = await client.dynamicClientRegistration(
    new URL(base), { client_name: "openid-client", redirect_uris: [redirect_uri], token_endpoint_auth_method: "none" },
    client.None(), options,
  );
  assert.equal(config.serverMetadata().issuer, base);
  assert.ok(config.serverMetadata().supportsPKCE());
  const { url, checks } = await asks(config);
  const back = await ada.allows(url);
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  assert.equal(tokens.scope, scope);
  assert.equal(await budget(tokens.access_token), 200);
  const answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${api}/budget`), "GET");
  assert.equal(answer.status, 200);
  const next = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  // A code works once; the copy ends everything.
  await assert.rejects(client.authorizationCodeGrant(config, back, checks), { error: "invalid_grant" });
  assert.equal(await budget(next.access_token), 401);
  // Another server's answer is noticed (RFC 9207).
  const mixed = await asks(config);
  const forged = await ada.allows(mixed.url);
  forged.searchParams.set("iss", "https://evil.example");
  await assert.rejects(client.authorizationCodeGrant(config, forged, mixed.checks));
  // Denying is an answer as well.
  const denied = await asks(config);
  const { page } = await ada.asked(denied.url);
  const no = await ada.presses(page, "deny", []);
  await assert.rejects(client.authorizationCodeGrant(config, no, denied.checks), { error: "access_denied" });
}

// A client with a secret, which pushes its requests.
{
  const config = await client.dynamicClientRegistration(
    new URL(base), { client_name: "pusher", redirect_uris: [redirect_uri], token_endpoint_auth_method: "client_secret_basic" },
    undefined, options,
  );
  const details = [{ type: "spend", currency: "USD", max_per_month: "5.00" }];
  const { url, checks } = await asks(config, { authorization_details: JSON.stringify(details) }, true);
  assert.ok(url.searchParams.get("request_uri").startsWith("urn:ietf:params:oauth:request_uri:"));
  const tokens = await client.authorizationCodeGrant(config, await ada.allows(url), checks);
  assert.deepEqual(tokens.authorization_details, details);
  const told = await client.tokenIntrospection(config, tokens.access_token);
  assert.equal(told.active, true);
  assert.equal(told.aud, api);
  await client.tokenRevocation(config, tokens.refresh_token);
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  assert.equal(await budget(tokens.access_token), 401);
}

// A client with a key, whose tokens are bound to another key (DPoP, with the nonce that it is told).
{
  const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const jwk = { ...(await crypto.subtle.exportKey("jwk", keys.publicKey)), kid: "one" };
  const registered = await client.dynamicClientRegistration(
    new URL(base),
    { client_name: "signer", redirect_uris: [redirect_uri], token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } },
    client.None(), options,
  );
  const config = await client.discovery(
    new URL(base), registered.clientMetadata().client_id, undefined,
    client.PrivateKeyJwt({ key: keys.privateKey, kid: "one" }), options,
  );
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
  const { url, checks } = await asks(config);
  const tokens = await client.authorizationCodeGrant(config, await ada.allows(url), checks, undefined, { DPoP });
  assert.equal(tokens.token_type, "dpop");
  assert.equal(await budget(tokens.access_token), 401);
  const answer = await client.fetchProtectedResource(
    config, tokens.access_token, new URL(`${api}/budget`), "GET", undefined, undefined, { DPoP },
  );
  assert.equal(answer.status, 200);
  const next = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal(next.token_type, "dpop");
}

console.log("openid-client: registration, PKCE, PAR, RAR, DPoP, private_key_jwt, introspection and revocation agree");
