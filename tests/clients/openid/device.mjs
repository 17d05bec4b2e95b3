// A program without a browser (RFC 8628) with the unmodified `openid-client`, and its human at a real Chromium: in light and
// dark, wide and narrow, by keyboard, without script.
import assert from "node:assert/strict";
import * as client from "openid-client";
import { launch, look, LOOKS, accessible, noSidewaysScroll, shot } from "../../browser/chromium.mjs";
import { logIn } from "../../browser/mail.mjs";
import { operator, start } from "../../browser/demo.mjs";

const demo = await start({ PORTREEVE__OAUTH__DEVICE_FLOW: "true" });
const base = demo.base_url;
const grants = ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"].flatMap((grant) => ["--grant", grant]);
const made = operator(demo, "client", "add", "Terminal", ...grants);
const options = { execute: [client.allowInsecureRequests], algorithm: "oauth2" };
const config = await client.discovery(new URL(base), made.client_id, undefined, client.None(), options);
assert.equal(config.serverMetadata().device_authorization_endpoint, `${base}/oauth/device`);

const browser = await launch();
const page = await browser.newPage({ baseURL: base, ...look(LOOKS[0]), javaScriptEnabled: false });
const begin = () => client.initiateDeviceAuthorization(config, { scope: "budget:read resources:write" });
const checked = async (name, on = page) => {
  await shot(on, name);
  await noSidewaysScroll(on);
};

/** With the keyboard alone: the code, and then Enter or the button with this name. */
async function types(code) {
  await page.getByLabel("Code").focus();
  await page.keyboard.type(code);
  await page.keyboard.press("Enter");
}
async function presses(name) {
  const button = page.getByRole("button", { name, exact: true });
  for (let turn = 0; turn < 30; turn += 1) {
    await page.keyboard.press("Tab");
    if (await button.evaluate((element) => element === document.activeElement)) return page.keyboard.press("Enter");
  }
  throw new Error(`the keyboard does not reach ${name}`);
}

const waiting = await begin();
assert.equal(waiting.verification_uri, `${base}/device`);
assert.equal(waiting.verification_uri_complete, undefined);
const tokens = client.pollDeviceAuthorizationGrant(config, waiting);
await logIn(page, demo, "/device");
assert.equal(new URL(page.url()).pathname, "/device", "the log-in leads back");
await types("BBBB-BBBB");
await page.getByText("There is no such code").waitFor();
await checked("device-wrong");
await page.getByLabel("Code").fill("");
await types(waiting.user_code.toLowerCase());
await page.getByText("Terminal asks to look at your account.").waitFor();
assert.match(await page.locator("main").innerText(), /127\.0\.0\.1[\s\S]*less than a minute ago/);
await presses("Go on");
await page.waitForURL("**/consent/*");
await presses("Allow");
await page.getByText("You have answered.").waitFor();
await checked("device-answered");
const given = await tokens;
assert.equal(given.scope, "budget:read", "a device never writes");
const answer = await client.fetchProtectedResource(config, given.access_token, new URL(`${base}/v1/budget`), "GET");
assert.equal(answer.status, 200);
const next = await client.refreshTokenGrant(config, given.refresh_token);
assert.notEqual(next.refresh_token, given.refresh_token);

const unwanted = await begin();
const refused = client.pollDeviceAuthorizationGrant(config, unwanted);
await page.goto("/device");
await types(unwanted.user_code);
await page.getByText("Nobody who calls or writes").waitFor();
await presses("Deny");
await page.getByText("You denied it.").waitFor();
await assert.rejects(refused, { error: "access_denied" });

// Every page of it, in every look, to axe.
const state = await page.context().storageState();
for (const one of LOOKS) {
  const context = await browser.newContext({ baseURL: base, storageState: state, ...look(one) });
  const other = await context.newPage();
  const { user_code } = await begin();
  await other.goto("/device");
  await accessible(other);
  await checked(`device-${one.name}`, other);
  await other.getByLabel("Code").fill("nothing");
  await other.getByRole("button", { name: "Show who asks" }).click();
  await other.getByText("There is no such code").waitFor();
  await accessible(other);
  await other.getByLabel("Code").fill(user_code);
  await other.getByRole("button", { name: "Show who asks" }).click();
  await other.getByRole("button", { name: "Go on" }).waitFor();
  assert.equal(await other.evaluate(() => document.activeElement === document.body), true, "no answer is chosen");
  await accessible(other);
  await checked(`device-asked-${one.name}`, other);
  await other.goto("/device/answered");
  await accessible(other);
  await context.close();
}
await browser.close();
await demo.stop();

console.log("openid-client: the device flow agrees, allowed and denied by a human at Chromium with the keyboard alone");
