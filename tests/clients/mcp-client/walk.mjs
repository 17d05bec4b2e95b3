// `@modelcontextprotocol/client` 2.x: registration and metadata documents, DPoP, a wider authorization after 403, and
// cross-app access with an ID-JAG. The human is at a real Chromium.
import assert from "node:assert/strict";
import {
  CrossAppAccessProvider, DpopSession, auth, computeScopeUnion, discoverAndRequestJwtAuthGrant, extractWWWAuthenticateParams,
  isStrictScopeSuperset, withDpopFromProvider,
} from "@modelcontextprotocol/client";
import { answers, asked, callback } from "../../browser/allow.mjs";
import { launch } from "../../browser/chromium.mjs";
import { operator, start } from "../../browser/demo.mjs";
import { documented, tls } from "./document.mjs";
import { identityProvider } from "./idp.mjs";

const demo = await start({ SSL_CERT_FILE: tls("ca.pem") });
const base = demo.base_url;
const api = `${base}/v1`;
const browser = await launch();
const page = await browser.newPage({ baseURL: base });
const back = await callback();

// What an application keeps between the steps; nothing of it decides anything.
class Provider {
  kept = {};
  constructor(session, clientMetadataUrl) {
    this.session = session;
    this.clientMetadataUrl = clientMetadataUrl;
  }
  redirectUrl = back.uri;
  clientMetadata = {
    client_name: "MCP 2", redirect_uris: [back.uri], grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"], token_endpoint_auth_method: "none",
  };
  state = () => (this.kept.state = crypto.randomUUID());
  clientInformation = () => this.kept.client;
  saveClientInformation = (client) => void (this.kept.client = client);
  tokens = () => this.kept.tokens;
  saveTokens = (tokens) => void (this.kept.tokens = tokens);
  discoveryState = () => this.kept.discovery;
  saveDiscoveryState = (state) => void (this.kept.discovery = state);
  redirectToAuthorization = (url) => void (this.kept.url = url);
  saveCodeVerifier = (verifier) => void (this.kept.verifier = verifier);
  codeVerifier = () => this.kept.verifier;
  dpop = () => this.session;
}

const call = (provider, path, init) => withDpopFromProvider(provider)(fetch)(new URL(path, base), init);
let loggedIn = false;

/** The human answers what `provider` asks, in the browser; the code is redeemed. */
async function allowed(provider, options) {
  assert.equal(provider.kept.url.searchParams.get("prompt"), null, "the human is not asked again and again");
  assert.ok(!provider.kept.url.searchParams.get("scope").includes("offline_access"));
  await asked(page, demo, provider.kept.url, { loggedIn });
  loggedIn = true;
  const arrived = await answers(page, back);
  assert.equal(arrived.searchParams.get("state"), provider.kept.state);
  assert.equal(arrived.searchParams.get("iss"), base);
  const answer = { authorizationCode: arrived.searchParams.get("code"), iss: arrived.searchParams.get("iss") };
  assert.equal(await auth(provider, { ...options, ...answer }), "AUTHORIZED");
}

/** From the 401 to a call that works, with tokens bound to the client's key. */
async function walks(clientMetadataUrl) {
  const provider = new Provider(await DpopSession.create(), clientMetadataUrl);
  const refused = await fetch(`${api}/budget`);
  assert.equal(refused.status, 401);
  const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(refused);
  const options = { serverUrl: api, resourceMetadataUrl, scope };
  assert.equal(await auth(provider, options), "REDIRECT");
  await allowed(provider, options);
  assert.equal(provider.kept.tokens.token_type.toLowerCase(), "dpop");
  assert.equal(provider.kept.tokens.scope, "budget:read");
  assert.equal((await call(provider, "/v1/budget")).status, 200);
  const bare = await fetch(`${api}/budget`, { headers: { authorization: `Bearer ${provider.kept.tokens.access_token}` } });
  assert.equal(bare.status, 401, "a copied token is worth nothing");
  return provider;
}

// It registers itself.
const registered = await walks(undefined);
assert.match(registered.kept.client.client_id, /^client_/);

// Step-up: 403 says which scopes the call needs; the human is asked for them, and the call works.
const link = { method: "POST", headers: { "content-type": "application/json", "idempotency-key": crypto.randomUUID() }, body: "{}" };
const forbidden = await call(registered, "/v1/deep-links", link);
assert.equal(forbidden.status, 403);
const challenge = extractWWWAuthenticateParams(forbidden);
assert.equal(challenge.error, "insufficient_scope");
assert.equal(challenge.scope, "dashboard:link");
const had = registered.kept.tokens.scope;
const scope = computeScopeUnion(had, challenge.scope);
const wider = {
  serverUrl: api, resourceMetadataUrl: challenge.resourceMetadataUrl, scope, forceReauthorization: isStrictScopeSuperset(scope, had),
};
assert.equal(await auth(registered, wider), "REDIRECT");
await allowed(registered, wider);
assert.deepEqual(new Set(registered.kept.tokens.scope.split(" ")), new Set(["budget:read", "dashboard:link"]));
assert.equal((await call(registered, "/v1/deep-links", link)).status, 201);
// Refreshing goes on with the same key.
assert.equal(await auth(registered, { serverUrl: api, resourceMetadataUrl: challenge.resourceMetadataUrl }), "AUTHORIZED");
assert.equal((await call(registered, "/v1/budget")).status, 200);

// Its id is the address of its metadata, which it chooses by itself because the server takes such.
const host = await documented(new Provider().clientMetadata);
const named = await walks(host.url);
assert.equal(named.kept.client.client_id, host.url);
host.close();

// Cross-app access: no browser, no refresh token, and a token that is bound to a key when there is one.
const secret = {};
const idp = await identityProvider({ email: "grace@harbor.example", audienceClient: () => secret.client_id });
operator(demo, "orchestrator", "add", "Harbor", "--issuer", idp.issuer, "--client-id", "acme", "--email-domain", "harbor.example");
const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
Object.assign(secret, operator(demo, "client", "add", "Harbor agents", "--auth", "client_secret_basic", "--grant", grant));
for (const session of [undefined, await DpopSession.create()]) {
  const provider = new CrossAppAccessProvider({
    assertion: async (context) => {
      const { jwtAuthGrant } = await discoverAndRequestJwtAuthGrant({
        idpUrl: idp.issuer, audience: context.authorizationServerUrl, resource: context.resourceUrl, scope: context.scope,
        idToken: await idp.idToken("grace", "harbor-app"), clientId: "harbor-app", clientSecret: "idp-secret", fetchFn: context.fetchFn,
      });
      return jwtAuthGrant;
    },
    clientId: secret.client_id, clientSecret: secret.client_secret, expectedIssuer: base,
  });
  if (session) provider.dpop = () => session;
  const refused = await fetch(`${api}/budget`);
  const { resourceMetadataUrl, scope: needed } = extractWWWAuthenticateParams(refused);
  assert.equal(await auth(provider, { serverUrl: api, resourceMetadataUrl, scope: needed }), "AUTHORIZED");
  const tokens = provider.tokens();
  assert.equal(tokens.refresh_token, undefined);
  assert.equal(tokens.token_type.toLowerCase(), session ? "dpop" : "bearer");
  assert.equal(idp.exchanged.at(-1).audience, base);
  assert.equal(idp.exchanged.at(-1).resource, api);
  const bearer = { headers: { authorization: `Bearer ${tokens.access_token}` } };
  const answer = session ? await call(provider, "/v1/budget") : await fetch(`${api}/budget`, bearer);
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).remaining, 10_000, "an account of its own");
  if (session) assert.equal((await fetch(`${api}/budget`, bearer)).status, 401);
}
idp.close();

back.close();
await browser.close();
await demo.stop();
console.log("@modelcontextprotocol/client: registration, metadata document, DPoP, wider authorization after 403, refresh and ID-JAG agree");
