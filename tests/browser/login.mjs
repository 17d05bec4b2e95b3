// Logging in, the consent page and passkeys, in real Chromium, against a demo of its own.
//
//   node tests/browser/login.mjs      (SHOTS=dir keeps pictures; PORTREEVE=program)
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { said, start } from "./demo.mjs";
import { logIn, mailed, mails } from "./mail.mjs";

const demo = await start({}, { localhost: true });
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

async function api(path, body) {
  const answer = await fetch(`${base}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${demo.access_token}`, "content-type": "application/json", "idempotency-key": crypto.randomUUID() },
    body: JSON.stringify(body),
  });
  return answer.json();
}

let asked = 0;
/** A second orchestrator asks to act for the demo's person: the page of its question. */
async function question(secret) {
  asked += 1;
  const body = JSON.stringify({
    id: `acctreq_${asked}`, object: "account_request", email: demo.email, name: "Ada Example", scopes: [],
    client_capabilities: ["browser"], confirmation_secret: `cs_${asked}`,
    expires_at: new Date(Date.now() + 600_000).toISOString(), orchestrator: { type: "quay", quay: { account: `u${asked}` } },
  });
  const at = Math.floor(Date.now() / 1000);
  const key = createHmac("sha256", secret).update(`${at}.${body}`).digest("hex");
  const answer = await fetch(`${base}/provisioning/account_requests`, {
    method: "POST", body,
    headers: { "content-type": "application/json", "api-version": "0.1d", "stripe-signature": `t=${at},v1=${key}` },
  });
  const told = await answer.json();
  assert.equal(told.type, "requires_auth", JSON.stringify(told));
  return told.requires_auth.redirect.url;
}

operator("orchestrator", "add", "Quay", "--issuer", "https://quay.example", "--client-id", "acme", "--email-domain", "example.test");
operator("orchestrator", "wire", "set", "Quay", "--kind", "quay", "--profile", "2026-06-25", "--signatures", "hmac");
const secret = /whsec_\S+/.exec(operator("orchestrator", "wire", "secret", "add", "Quay"))[0].replace(/[",]+$/, "");
await new Promise((done) => setTimeout(done, 5500)); // Another process takes up a new secret within 5 seconds.

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const heading = (page) => line(page.locator("h1"));
const main = await context(look(LOOKS[0]));
const page = await main.newPage();

await checks.that("a person logs in by a link in a mail, and looking at the link takes nothing", async () => {
  const link = await mailed(demo.mail_folder, async () => {
    await page.goto("/login");
    await page.getByLabel("Your e-mail address").fill(demo.email);
    await page.getByRole("button", { name: "Send me a link" }).click();
    await page.getByText("a mail with a link is on its way").waitFor();
    await accessible(page);
    await shot(page, "login-sent");
  });
  for (let time = 0; time < 2; time += 1) await page.goto(link);
  assert.match(await heading(page), /one press away/);
  await accessible(page);
  await shot(page, "login-link");
  const elsewhere = await context(look(LOOKS[3]));
  const other = await elsewhere.newPage();
  await other.goto(link);
  assert.match(await heading(other), /begun in another browser/);
  await noSidewaysScroll(other);
  await accessible(other);
  await shot(other, "login-link-elsewhere");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(`${base}/dashboard`);
  await other.getByRole("button", { name: "Log in" }).click();
  assert.match(await heading(other), /no longer works/);
  await accessible(other);
  await elsewhere.close();
});

for (const kind of LOOKS) {
  await checks.that(`the log-in pages are accessible and fit: ${kind.name}`, async () => {
    const dressed = await context(look(kind));
    const other = await dressed.newPage();
    for (const [name, path] of [["login", "/login"], ["login-again", "/login?max_age=300&to=%2Fdashboard"]]) {
      await other.goto(path);
      await noSidewaysScroll(other);
      await accessible(other);
      await shot(other, `${name}-${kind.name}`);
    }
    await dressed.close();
    const inside = await context({ ...look(kind), storageState: await main.storageState() });
    const methods = await inside.newPage();
    await methods.goto("/dashboard/log-in");
    await noSidewaysScroll(methods);
    await accessible(methods);
    await shot(methods, `methods-${kind.name}`);
    await inside.close();
  });
}

await checks.that("an agent with a link of its own is asked to log in, and cannot answer its own question", async () => {
  const asking = await question(secret);
  const agents = await context({ ...look(LOOKS[0]), javaScriptEnabled: false });
  const agent = await agents.newPage();
  const link = await api("/v1/deep-links", {});
  await agent.goto(link.url);
  await agent.getByRole("button", { name: "Open your dashboard" }).click();
  await agent.waitForURL(`${base}/dashboard`);
  await agent.goto(asking);
  assert.match(await heading(agent), /Please log in first/);
  assert.equal(await agent.getByRole("button", { name: "Allow" }).count(), 0);
  await shot(agent, "consent-agent");
  const answer = await agents.request.post(asking.replace("?", "/allow?"), {
    headers: { "sec-fetch-site": "same-origin" },
    form: { scope: "resources:read" },
  });
  assert.equal(answer.status(), 403);
  // The owner takes over in this browser, without script, and is back at exactly this page.
  const back = await mailed(demo.mail_folder, async () => {
    await agent.getByRole("link", { name: "Log in" }).click();
    await agent.getByLabel("Your e-mail address").fill(demo.email);
    await agent.getByRole("button", { name: "Send me a link" }).click();
    await agent.getByText("a mail with a link is on its way").waitFor();
  });
  await agent.goto(back);
  await agent.getByRole("button", { name: "Log in" }).click();
  await agent.waitForURL(asking);
  await agent.getByRole("button", { name: "Deny" }).click();
  assert.match(await heading(agent), /may not act for you/);
  await agents.close();
});

for (const kind of LOOKS) {
  await checks.that(`the consent page is accessible and fits: ${kind.name}`, async () => {
    const asking = await question(secret);
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto(asking);
    assert.match(await heading(other), /Quay could spend up to \$100\.00 a month/);
    const [allow, deny] = ["Allow", "Deny"].map((name) => other.getByRole("button", { name, exact: true }));
    const [one, two] = [await allow.boundingBox(), await deny.boundingBox()];
    assert.ok(Math.abs(one.height - two.height) < 1, "yes and no are of one size");
    assert.equal(await other.evaluate(() => document.activeElement === document.body), true, "neither has the focus");
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `consent-${kind.name}`);
    await dressed.close();
    const stranger = await context(look(kind));
    const asked = await stranger.newPage();
    await asked.goto(asking);
    assert.match(await heading(asked), /Please log in first/);
    await noSidewaysScroll(asked);
    await accessible(asked);
    await shot(asked, `consent-stranger-${kind.name}`);
    await stranger.close();
  });
}

await checks.that("with the keyboard alone a person logs in and allows", async () => {
  const asking = await question(secret);
  const keys = await context(look(LOOKS[0]));
  const typed = await keys.newPage();
  const tabTo = async (name) => {
    for (let step = 0; step < 40; step += 1) {
      await typed.keyboard.press("Tab");
      const found = await typed.evaluate(() => {
        const at = document.activeElement;
        return { text: (at.innerText || at.id || "").trim(), ring: getComputedStyle(at).outlineStyle !== "none" };
      });
      if (found.text === name) return assert.ok(found.ring, `"${name}" shows no focus`);
    }
    throw new Error(`Tab does not reach "${name}"`);
  };
  await typed.goto(asking);
  const link = await mailed(demo.mail_folder, async () => {
    await tabTo("Log in");
    await Promise.all([typed.waitForURL(/\/login\?/), typed.keyboard.press("Enter")]);
    await tabTo("email");
    await typed.keyboard.type(demo.email);
    await typed.keyboard.press("Enter");
    await typed.getByText("a mail with a link is on its way").waitFor();
  });
  await typed.goto(link);
  await tabTo("Log in");
  await Promise.all([typed.waitForURL(asking), typed.keyboard.press("Enter")]);
  await tabTo("Allow");
  await typed.keyboard.press("Enter");
  await typed.waitForFunction(() => /may act for you now/.test(document.querySelector("h1").innerText));
  await accessible(typed);
  await shot(typed, "consent-allowed");
  await keys.close();
});

await checks.that("a passkey is added in a session, logs in without an address, and can be removed", async () => {
  const keyed = await context(look(LOOKS[0]));
  const tab = await keyed.newPage();
  const tools = await keyed.newCDPSession(tab);
  await tools.send("WebAuthn.enable");
  const options = {
    protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  // The debugger's authenticator ends with any session of the debugger on this page: axe waits until the end.
  const { authenticatorId } = await tools.send("WebAuthn.addVirtualAuthenticator", { options });
  await logIn(tab, demo, "/login?to=%2Fdashboard%2Flog-in");
  await tab.waitForURL(`${base}/dashboard/log-in`);
  await tab.getByLabel("Name of the new passkey").fill("My phone");
  await tab.getByRole("button", { name: "Add a passkey" }).click();
  await tab.waitForURL(/done=added/);
  assert.match(await line(tab.locator("main")), /My phone added .*never used/);
  await shot(tab, "methods-passkey");
  const { credentials } = await tools.send("WebAuthn.getCredentials", { authenticatorId });
  assert.equal(credentials.length, 1);
  assert.equal(credentials[0].isResidentCredential, true);
  // From now on the mail alone gives no power: the other way is asked for, and leads back.
  await tab.goto("/dashboard/export");
  assert.match(await heading(tab), /Please log in in another way/);
  await noSidewaysScroll(tab);
  await shot(tab, "mail-is-not-enough");
  await tab.getByRole("link", { name: "Log in" }).click();
  assert.match(await heading(tab), /Log in in another way/);
  assert.equal(await tab.getByLabel("Your e-mail address").count(), 0);
  await noSidewaysScroll(tab);
  await shot(tab, "login-beyond-mail");
  await tab.getByRole("button", { name: "Log in with a passkey" }).click();
  await tab.waitForURL(`${base}/dashboard/export`);
  await tab.goto("/dashboard/log-in");
  await tab.getByRole("button", { name: "Log out" }).click();
  await tab.goto("/login?max_age=300&to=%2Fdashboard%2Flog-in");
  await tab.getByRole("button", { name: "Log in with a passkey" }).click();
  await tab.waitForURL(`${base}/dashboard/log-in`);
  assert.match(await line(tab.locator("main")), /My phone added .*, used /);
  await tab.goto("/dashboard");
  assert.match(await line(tab.locator("#activity")), /logged in with a passkey/);
  // Nobody is verified at the authenticator: nothing happens, and the page says so.
  await tab.getByRole("button", { name: "Log out" }).click();
  await tools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  await tab.goto("/login");
  await tab.getByRole("button", { name: "Log in with a passkey" }).click();
  await tab.locator("[data-passkey-problem]:not([hidden])").waitFor();
  assert.match(tab.url(), /\/login$/);
  await tools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
  await tab.getByRole("button", { name: "Log in with a passkey" }).click();
  await tab.waitForURL(`${base}/dashboard`);
  await tab.goto("/dashboard/log-in");
  await tab.getByRole("button", { name: "Remove" }).click();
  await tab.waitForURL(/done=removed/);
  await tab.getByRole("button", { name: "Log out" }).click();
  await tab.goto("/login");
  await tab.getByRole("button", { name: "Log in with a passkey" }).click();
  await tab.locator("[data-passkey-problem]:not([hidden])").waitFor();
  assert.match(await line(tab.locator("[data-passkey-problem]")), /Nobody here has this passkey/);
  await accessible(tab);
  await keyed.close();
});

await checks.that("the cap is raised by whoever logged in just now", async () => {
  await logIn(page, demo, "/login?max_age=1");
  await page.locator("#raise > summary").click();
  await page.locator("#higher").fill("much");
  await page.getByRole("button", { name: "Raise the cap" }).click();
  await page.waitForSelector("#raise-problem");
  await accessible(page);
  await page.locator("#higher").fill("150");
  await page.getByRole("button", { name: "Raise the cap" }).click();
  await page.waitForSelector("#told > p");
  assert.equal(await line(page.locator("#told")), "The cap is $150.00 now.");
});

const first = mails(demo.mail_folder, "/not-mine/").at(0);
const notMine = /https?:\/\/\S+\/not-mine\/\S+/.exec(first)[0];

for (const pressed of [false, true]) {
  const name = pressed ? "not-mine-stopped" : "not-mine";
  for (const kind of LOOKS) {
    await checks.that(`"I did not start this" is accessible and fits: ${name}, ${kind.name}`, async () => {
      const dressed = await context({ ...look(kind), javaScriptEnabled: true });
      const stranger = await dressed.newPage();
      await stranger.goto(notMine);
      assert.match(await heading(stranger), pressed ? /It is stopped/ : /You did not start this/);
      assert.equal(await stranger.locator(":focus").count(), 0, "no button is in focus");
      await noSidewaysScroll(stranger);
      await accessible(stranger);
      await shot(stranger, `${name}-${kind.name}`);
      await dressed.close();
    });
  }
  if (pressed) break;
  await checks.that("the button of the first mail stops everything, by keyboard, without script and without a log-in", async () => {
    const bare = await context({ ...look(LOOKS[0]), javaScriptEnabled: false });
    const stranger = await bare.newPage();
    await stranger.goto(notMine);
    await stranger.getByRole("button", { name: "I did not start this" }).focus();
    await stranger.keyboard.press("Enter");
    await stranger.getByRole("heading", { name: "It is stopped" }).waitFor();
    assert.deepEqual(await bare.cookies(), [], "it is no log-in");
    assert.equal((await api("/v1/deep-links", {})).code, "invalid_token", "the agent's token is dead");
    await bare.close();
  });
}

await checks.that("its owner undoes it by logging in", async () => {
  await page.goto("/dashboard");
  assert.doesNotMatch(await heading(page), /spent/, "the session ended too");
  await page.goto(notMine);
  await page.getByRole("link", { name: "log in" }).click();
  await logIn(page, demo, page.url());
  await page.waitForURL(`${base}/dashboard`);
  await page.locator("#resume > summary").click();
  await page.getByRole("button", { name: "Yes, resume spending" }).click();
  await page.waitForSelector("#stop");
  await page.goto(notMine);
  assert.match(await heading(page), /The owner took this account back/);
  assert.equal(await page.getByRole("button", { name: "I did not start this" }).count(), 0);
  await accessible(page);
});

await checks.that("no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
await demo.stop();
