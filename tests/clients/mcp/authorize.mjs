// 401 → protected-resource metadata → authorization-server metadata → registration, or a metadata document as the client's
// id → PKCE → a human who allows it → token → call, with the unmodified `@modelcontextprotocol/sdk`.
import assert from "node:assert/strict";
import { auth, extractWWWAuthenticateParams } from "@modelcontextprotocol/sdk/client/auth.js";
import { start } from "../../browser/demo.mjs";
import { documented, tls } from "../mcp-client/document.mjs";
import { human } from "../openid/human.mjs";

const demo = await start({ SSL_CERT_FILE: tls("ca.pem") });
const api = `${demo.base_url}/v1`;
const ada = human(demo.base_url, demo.session);
const redirectUrl = "http://127.0.0.1:45222/callback";
const metadata = {
  client_name: "MCP inspector", redirect_uris: [redirectUrl], grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"], token_endpoint_auth_method: "none",
};

// What an application keeps between the steps; nothing of it decides anything.
function provider(clientMetadataUrl) {
  const kept = {};
  return {
    kept, redirectUrl, clientMetadata: metadata, clientMetadataUrl,
    state: () => (kept.state ??= crypto.randomUUID()),
    clientInformation: () => kept.client,
    saveClientInformation: (client) => void (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => void (kept.tokens = tokens),
    redirectToAuthorization: (url) => void (kept.url = url),
    saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
    codeVerifier: () => kept.verifier,
  };
}

async function goes(clientMetadataUrl) {
  const mine = provider(clientMetadataUrl);
  const refused = await fetch(`${api}/budget`);
  assert.equal(refused.status, 401);
  const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(refused);
  assert.equal(scope, "budget:read");
  assert.equal(await auth(mine, { serverUrl: api, resourceMetadataUrl, scope }), "REDIRECT");
  assert.equal(mine.kept.url.searchParams.get("resource"), api);
  assert.equal(mine.kept.url.searchParams.get("scope"), "budget:read");
  const back = await ada.allows(mine.kept.url);
  assert.equal(back.searchParams.get("state"), mine.kept.state);
  const authorizationCode = back.searchParams.get("code");
  const iss = back.searchParams.get("iss");
  assert.equal(await auth(mine, { serverUrl: api, resourceMetadataUrl, scope, authorizationCode, iss }), "AUTHORIZED");
  const answer = await fetch(`${api}/budget`, { headers: { authorization: `Bearer ${mine.kept.tokens.access_token}` } });
  assert.equal(answer.status, 200);
  // Later: with its refresh token it goes on without asking the human again.
  const before = mine.kept.tokens.access_token;
  delete mine.kept.url;
  assert.equal(await auth(mine, { serverUrl: api, resourceMetadataUrl, scope }), "AUTHORIZED");
  assert.equal(mine.kept.url, undefined, "the human was not asked");
  assert.notEqual(mine.kept.tokens.access_token, before);
  return mine.kept.client.client_id;
}

const registered = await goes(undefined);
assert.ok(registered.startsWith("client_"), registered);

// Its id is the address of its metadata: it chooses that by itself, because the server takes such.
const host = await documented(metadata);
assert.equal(await goes(host.url), host.url);
host.close();
await demo.stop();

console.log("@modelcontextprotocol/sdk: 401, metadata, registration, metadata document, PKCE, token, call and refresh agree");
