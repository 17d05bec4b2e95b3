// Separate accounts of somebody's agents, merged, moved and discarded in real Chromium, against a demo of its own.
//
//   node tests/browser/sidecars.mjs      (SHOTS=dir keeps pictures; PORTREEVE=program)
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { said, start } from "./demo.mjs";
import { logIn } from "./mail.mjs";

const demo = await start();
const base = demo.base_url;
const checks = new Checks();
const browser = await launch();
const complaints = [];

async function context(options) {
  const made = await browser.newContext({ baseURL: base, ...options });
  made.on("console", (message) => {
    const expected = /Failed to load resource.*(4\d\d)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) complaints.push(message.text());
  });
  made.on("weberror", (error) => complaints.push(String(error.error())));
  made.on("response", (response) => {
    if (new URL(response.url()).origin !== base) complaints.push(`asked another host: ${response.url()}`);
  });
  return made;
}

const operator = (...words) => said(demo, ...words);

operator("orchestrator", "add", "Quay", "--issuer", "https://quay.example", "--client-id", "acme", "--email-domain", "example.test",
  "--existing-account", "sidecar", "--provisional-ceiling", "25.00 USD");
operator("orchestrator", "wire", "set", "Quay", "--kind", "quay", "--profile", "2026-06-25", "--signatures", "hmac");
const secret = /whsec_\S+/.exec(operator("orchestrator", "wire", "secret", "add", "Quay"))[0].replace(/[",]+$/, "");
await pause(5500); // Another process takes up a new secret within 5 seconds.

async function signed(path, type, body, more = {}) {
  const at = Math.floor(Date.now() / 1000);
  const key = createHmac("sha256", secret).update(`${at}.${body}`).digest("hex");
  const headers = { "content-type": type, "api-version": "0.1d", "stripe-signature": `t=${at},v1=${key}`, ...more };
  const answer = await fetch(`${base}${path}`, { method: "POST", body, headers });
  const told = await answer.json();
  assert.ok(answer.ok, `${path}: ${JSON.stringify(told)}`);
  return told;
}

let opened = 0;
/** Another agent of the demo's person comes by Quay and makes things, in an account of its own. */
async function agent(services) {
  opened += 1;
  const told = await signed("/provisioning/account_requests", "application/json", JSON.stringify({
    id: `acctreq_${opened}`, object: "account_request", email: demo.email, name: "Ada Example", scopes: [],
    client_capabilities: ["browser"], confirmation_secret: `cs_${opened}`, expires_at: new Date(Date.now() + 600_000).toISOString(),
    orchestrator: { type: "quay", quay: { account: `u${opened}` } },
  }));
  assert.equal(told.type, "oauth", JSON.stringify(told));
  const form = `grant_type=authorization_code&code=${told.oauth.code}`;
  const tokens = await signed("/oauth/token", "application/x-www-form-urlencoded", form);
  for (const [at, service] of services.entries()) {
    const body = JSON.stringify({ service_id: service, configuration: {} });
    await signed("/provisioning/resources", "application/json", body, {
      authorization: `Bearer ${tokens.access_token}`, "idempotency-key": `k-${opened}-${at}`,
    });
  }
}

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const things = (page) => page.locator("#resources tbody tr").count();
const heading = (page) => line(page.locator("h1"));
let before = 0; // What is in the person's own account.
const main = await context(look(LOOKS[0]));
const page = await main.newPage();
const onward = "/login?max_age=1&to=%2Fdashboard%2Fsidecars";

await checks.that("without one, the page says so, and the dashboard nothing", async () => {
  await logIn(page, demo, onward);
  assert.match(await heading(page), /No agent works for you in another account/);
  await accessible(page);
  await shot(page, "sidecars-none");
  await page.goto("/dashboard");
  before = await things(page);
  assert.equal(await page.locator("#sidecars-title").count(), 0);
});

await agent(["sandbox", "sandbox"]);

await checks.that("the dashboard leads to the separate account, and its page says what is in it", async () => {
  await page.goto("/dashboard");
  assert.match(await line(page.locator("#sidecars-title")), /An agent works for you in another account/);
  await accessible(page);
  await shot(page, "sidecars-dashboard");
  await page.getByRole("link", { name: "Look and decide" }).click();
  assert.match(await heading(page), /An agent works for you in another account/);
  await page.getByRole("link", { name: "Look and decide: the account that Quay opened" }).click();
  assert.match(await heading(page), /An agent of Quay made 2 things for you/);
  assert.equal(await page.evaluate(() => document.activeElement === document.body), true, "nothing has the focus");
  const ticked = await page.locator("input[name=scope]:checked").evaluateAll((all) => all.map((one) => one.value));
  assert.deepEqual(ticked, ["resources:read", "budget:read"]);
});

for (const kind of LOOKS) {
  await checks.that(`both pages are accessible and fit: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto("/dashboard/sidecars");
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `sidecars-${kind.name}`);
    await other.getByRole("link", { name: /Look and decide/ }).click();
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `sidecar-${kind.name}`);
    await dressed.close();
  });
}

await checks.that("whoever came by an agent's link is asked to log in, and sees nothing of it", async () => {
  const address = page.url();
  const agents = await context(look(LOOKS[0]));
  const tab = await agents.newPage();
  await tab.goto(demo.dashboard_url);
  await tab.getByRole("button", { name: "Open your dashboard" }).click();
  await tab.waitForURL(`${base}/dashboard`);
  assert.equal(await tab.locator("#sidecars-title").count(), 0);
  await tab.goto(address);
  assert.match(await heading(tab), /Please log in yourself/);
  assert.doesNotMatch(await line(tab.locator("body")), /Quay/);
  await accessible(tab);
  await agents.close();
});

await checks.that("a refusal says what to do and leaves everything as it was", async () => {
  await page.getByRole("button", { name: "Discard" }).click();
  assert.match(await line(page.locator("#told")), /Tick that you want it gone for good/);
  await page.getByRole("button", { name: "Move", exact: true }).click();
  assert.match(await line(page.locator("#told")), /Nothing is ticked/);
  await accessible(page);
  await noSidewaysScroll(page);
  await shot(page, "sidecar-refused");
});

await checks.that("without script, one thing is moved and the other stays", async () => {
  const plain = await context({ ...look(LOOKS[2]), javaScriptEnabled: false, storageState: await main.storageState() });
  const bare = await plain.newPage();
  await bare.goto("/dashboard/sidecars");
  await bare.getByRole("link", { name: /Look and decide/ }).click();
  await bare.locator("input[name=resource]").first().check();
  await bare.getByRole("button", { name: "Move", exact: true }).click();
  assert.match(await line(bare.locator("#told")), /It is moved/);
  await bare.getByRole("link", { name: /Look and decide/ }).click();
  assert.match(await heading(bare), /made 1 thing for you/);
  await bare.goto("/dashboard");
  assert.equal(await things(bare), before + 1);
  await plain.close();
});

await checks.that("with the keyboard alone it is merged", async () => {
  await page.goto("/dashboard/sidecars");
  const tabTo = async (wanted) => {
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press("Tab");
      const found = await page.evaluate(() => {
        const at = document.activeElement;
        return { text: (at.innerText || at.value || "").trim(), ring: getComputedStyle(at).outlineStyle !== "none" };
      });
      if (found.text === wanted) return assert.ok(found.ring, `"${wanted}" shows no focus`);
    }
    throw new Error(`Tab does not reach "${wanted}"`);
  };
  await tabTo("Look and decide");
  await Promise.all([page.waitForURL(/sidecars\/acct_/), page.keyboard.press("Enter")]);
  await tabTo("resources:write");
  await page.keyboard.press("Space");
  await tabTo("Merge");
  await Promise.all([page.waitForURL(/done=merged/), page.keyboard.press("Enter")]);
  assert.match(await line(page.locator("#told")), /It is merged/);
  assert.match(await heading(page), /No agent works for you/);
  await accessible(page);
  await page.goto("/dashboard");
  assert.match(await line(page.locator("#activity")), /merged the separate account that Quay had opened/);
  assert.equal(await things(page), before + 2);
});

await checks.that("another one is discarded for good", async () => {
  await agent(["sandbox"]);
  await page.goto("/dashboard/sidecars");
  await page.getByRole("link", { name: /Look and decide/ }).click();
  await page.getByLabel("Yes, I want it gone for good").check();
  await page.getByRole("button", { name: "Discard" }).click();
  await page.waitForURL(/done=discarded/);
  assert.match(await line(page.locator("#told")), /It is discarded/);
  await page.goBack();
  await page.reload();
  assert.match(await heading(page), /There is no such account for you to decide on/);
  await accessible(page);
});

await checks.that("the browser never complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
await demo.stop();
