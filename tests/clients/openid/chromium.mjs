// `openid-client` sends a human whom nobody knows yet, at a real Chromium: authorize, log in by mail, allow, code, token.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as client from "openid-client";
import { answers, asked, callback } from "../../browser/allow.mjs";
import { launch } from "../../browser/chromium.mjs";

const demo = JSON.parse(readFileSync(process.argv[2], "utf8"));
const back = await callback();
const options = { execute: [client.allowInsecureRequests], algorithm: "oauth2" };
const metadata = { client_name: "openid-client", redirect_uris: [back.uri], token_endpoint_auth_method: "none" };
const config = await client.dynamicClientRegistration(new URL(demo.base_url), metadata, client.None(), options);
const browser = await launch();
const page = await browser.newPage({ baseURL: demo.base_url, javaScriptEnabled: false });

async function goes(button, loggedIn) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: back.uri, scope: "budget:read resources:read", state: expectedState, code_challenge_method: "S256",
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  });
  await asked(page, demo, url, { loggedIn });
  const arrived = await answers(page, back, button);
  assert.equal(await page.locator("body").innerText(), "You can close this window.");
  return client.authorizationCodeGrant(config, arrived, { pkceCodeVerifier, expectedState });
}

const tokens = await goes("Allow", false);
const answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${demo.base_url}/v1/budget`), "GET");
assert.equal(answer.status, 200);
assert.equal(new URL(answer.url).pathname, "/v1/budget");
await assert.rejects(goes("Deny", true), { error: "access_denied" });
back.close();
await browser.close();

console.log("openid-client: a human at Chromium came from the program by mail to the question and back, and allowed and denied");
