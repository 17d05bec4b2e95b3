// Drives the authorization server with the unmodified `oauth4webapi` package, which checks every answer strictly.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as oauth from "oauth4webapi";
import { human } from "./human.mjs";

const demo = JSON.parse(readFileSync(process.argv[2], "utf8"));
const issuer = new URL(demo.base_url);
const api = new URL(`${demo.base_url}/v1`);
const redirect_uri = "http://127.0.0.1:45111/callback";
const insecure = { [oauth.allowInsecureRequests]: true };
const ada = human(demo.base_url, demo.session);

// From the resource to its server, and both name each other.
const resource = await oauth.processResourceDiscoveryResponse(api, await oauth.resourceDiscoveryRequest(api, insecure));
assert.deepEqual(resource.authorization_servers, [demo.base_url]);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: "oauth2" }));
assert.deepEqual(as.protected_resources, [api.href]);

const registered = await oauth.processDynamicClientRegistrationResponse(
  await oauth.dynamicClientRegistrationRequest(
    as, { client_name: "oauth4webapi", redirect_uris: ["http://127.0.0.1/callback"], token_endpoint_auth_method: "client_secret_post" }, insecure,
  ),
);
const client = { client_id: registered.client_id };
const proof = oauth.ClientSecretPost(registered.client_secret);

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const pushed = await oauth.processPushedAuthorizationResponse(as, client, await oauth.pushedAuthorizationRequest(as, client, proof, new URLSearchParams({
  client_id: client.client_id, response_type: "code", redirect_uri, scope: "budget:read", state, resource: api.href,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
}), insecure));
const url = new URL(as.authorization_endpoint);
url.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri });

const parameters = oauth.validateAuthResponse(as, client, await ada.allows(url), state);
const tokens = await oauth.processAuthorizationCodeResponse(as, client, await oauth.authorizationCodeGrantRequest(
  as, client, proof, parameters, redirect_uri, verifier, insecure,
));
assert.equal(tokens.token_type, "bearer");

// The access token is what RFC 9068 says, to whoever checks it for the API.
const request = new Request(`${api}/budget`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
const claims = await oauth.validateJwtAccessToken(as, request, api.href, insecure);
assert.equal(claims.client_id, client.client_id);
assert.equal(claims.scope, "budget:read");
const answer = await oauth.protectedResourceRequest(tokens.access_token, "GET", new URL(`${api}/budget`), new Headers(), null, insecure);
assert.equal(answer.status, 200);

const next = await oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, proof, tokens.refresh_token, insecure));
// Two processes that share the token get the same successor.
const twin = await oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, proof, tokens.refresh_token, insecure));
assert.equal(twin.refresh_token, next.refresh_token);
const told = await oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, proof, next.access_token, insecure));
assert.equal(told.active, true);
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, next.refresh_token, insecure));
const ended = await oauth.refreshTokenGrantRequest(as, client, proof, next.refresh_token, insecure);
await assert.rejects(oauth.processRefreshTokenResponse(as, client, ended), { error: "invalid_grant" });
// The challenge of the API leads back to where this began.
const challenged = oauth.protectedResourceRequest("not-a-token", "GET", new URL(`${api}/budget`), new Headers(), null, insecure);
await assert.rejects(challenged, (error) => {
  const [{ scheme, parameters }] = error.cause;
  return scheme === "bearer" && parameters.error === "invalid_token" && parameters.resource_metadata.startsWith(demo.base_url);
});

console.log("oauth4webapi: discovery, registration, PAR, PKCE, tokens, JWT profile, refresh, introspection and revocation agree");
