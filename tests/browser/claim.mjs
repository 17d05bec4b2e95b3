// Claiming an account in real Chromium, against two demos of its own: with a passkey by the keyboard alone, and at an OpenID
// provider without script.
//
//   node tests/browser/claim.mjs      (SHOTS=dir keeps pictures; PORTREEVE=program)
import assert from "node:assert/strict";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { start } from "./demo.mjs";
import { startIssuer } from "./issuer.mjs";
import { mailed } from "./mail.mjs";

const checks = new Checks();
const browser = await launch();
const complaints = [];
const hosts = new Set();

async function context(place, options) {
  const made = await browser.newContext({ baseURL: place.base_url, ...options });
  made.on("console", (message) => {
    const expected = /Failed to load resource.*(4\d\d)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) complaints.push(message.text());
  });
  made.on("weberror", (error) => complaints.push(String(error.error())));
  made.on("response", (response) => {
    if (!hosts.has(new URL(response.url()).origin)) complaints.push(`asked another host: ${response.url()}`);
  });
  return made;
}

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const heading = (page) => line(page.locator("h1"));

async function good(page, name) {
  await noSidewaysScroll(page);
  await accessible(page);
  assert.equal(await page.evaluate(() => document.activeElement === document.body), true, "nothing has the focus");
  await shot(page, name);
}

async function byMail(page, place) {
  const link = await mailed(place.mail_folder, async () => {
    await page.getByLabel("The address of the account").fill(place.email);
    await page.getByRole("button", { name: "Send me a link" }).click();
    await page.getByText("a mail with a link is on its way").waitFor();
  });
  await page.goto(link);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(/\/claim$/);
}

async function budget(place) {
  const answer = await fetch(`${place.base_url}/v1/budget`, { headers: { authorization: `Bearer ${place.access_token}` } });
  return answer.status;
}

const here = await start({}, { claimed: false, localhost: true });
hosts.add(here.base_url);

await checks.that("the dashboard leads to the claim, and whoever came by a link is told what is missing", async () => {
  const first = await context(here, look(LOOKS[0]));
  const page = await first.newPage();
  await page.goto(here.dashboard_url);
  await page.getByRole("button", { name: "Open your dashboard" }).click();
  await page.waitForURL(/\/dashboard/);
  const state = await first.storageState();
  for (const kind of LOOKS) {
    const dressed = await context(here, { ...look(kind), storageState: state });
    const other = await dressed.newPage();
    await other.goto("/dashboard");
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `claim-dashboard-${kind.name}`);
    await other.getByRole("link", { name: "Claim this account" }).click();
    assert.match(await heading(other), /opened this account for you\. Make it yours\./);
    await good(other, `claim-start-${kind.name}`);
    await dressed.close();
  }
  await first.close();
});

const main = await context(here, look(LOOKS[0]));
const page = await main.newPage();

await checks.that("after the mail the screen shows everything, with nothing ticked, in every look", async () => {
  await page.goto("/claim");
  await byMail(page, here);
  assert.match(await heading(page), /^Harbour opened this account for you\. It has \d+ resources and spent \$/);
  assert.equal(await page.locator("input[type=checkbox]:checked").count(), 0);
  const state = await main.storageState();
  for (const kind of LOOKS) {
    const dressed = await context(here, { ...look(kind), storageState: state });
    const other = await dressed.newPage();
    await other.goto("/claim");
    await good(other, `claim-${kind.name}`);
    await dressed.close();
  }
});

await checks.that("without script the screen says what is missing, and nothing is claimed", async () => {
  const plain = await context(here, { ...look(LOOKS[2]), javaScriptEnabled: false, storageState: await main.storageState() });
  const bare = await plain.newPage();
  await bare.goto("/claim");
  assert.match(await line(bare.locator("main")), /needs a browser that knows them, with script/);
  await bare.getByRole("button", { name: "Claim this account" }).click();
  assert.match(await line(bare.getByRole("alert").first()), /The last step needs a passkey/);
  await noSidewaysScroll(bare);
  await shot(bare, "claim-no-script");
  await plain.close();
  assert.equal(await budget(here), 200);
});

await checks.that("with the keyboard alone a person ticks an agent and claims with a passkey", async () => {
  const tools = await main.newCDPSession(page);
  await tools.send("WebAuthn.enable");
  const options = {
    protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: false,
    automaticPresenceSimulation: true,
  };
  const { authenticatorId } = await tools.send("WebAuthn.addVirtualAuthenticator", { options });
  const tabTo = async (name) => {
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const found = await page.evaluate(() => {
        const at = document.activeElement;
        return { text: (at.name || at.innerText || "").trim(), ring: getComputedStyle(at).outlineStyle !== "none" };
      });
      if (found.text === name) return assert.ok(found.ring, `"${name}" shows no focus`);
    }
    throw new Error(`Tab does not reach "${name}"`);
  };
  await page.goto("/claim");
  await tabTo("keep");
  await page.keyboard.press("Space");
  await tabTo("Claim this account");
  await page.keyboard.press("Enter");
  // The device does not know its human: nothing happens, and the page says so.
  await page.locator("[data-passkey-problem]:not([hidden])").waitFor();
  await shot(page, "claim-no-human");
  await tools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
  await page.keyboard.press("Enter");
  await page.waitForURL(/done=claimed/);
  assert.match(await line(page.locator("#told")), /This account is yours now\./);
  assert.match(await line(page.locator("#activity")), /The owner claimed the account/);
  await page.goto("/dashboard/log-in");
  assert.match(await line(page.locator("main")), /My first passkey added/);
  assert.equal(await budget(here), 401, "the token from before");
  // It is the way in from now on.
  await page.getByRole("button", { name: "Log out" }).click();
  await page.goto("/login");
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.waitForURL(/\/dashboard$/);
  assert.equal(await page.getByText("This account is not claimed yet").count(), 0);
  await page.goto("/claim");
  assert.match(await heading(page), /This account is claimed/);
  await tools.detach();
  await good(page, "claim-claimed");
});

const person = { sub: "1001", email: "" };
const issuer = await startIssuer(person);
const there = await start({
  PORTREEVE__LOGIN__OIDC__ISSUER: issuer.url, PORTREEVE__LOGIN__OIDC__CLIENT_ID: "desk", PORTREEVE__LOGIN__OIDC__NAME: "Acme ID",
}, { claimed: false, localhost: true });
hosts.add(there.base_url).add(issuer.url);
person.email = there.email;

await checks.that("without script a person claims by mail and a log-in at the OpenID provider", async () => {
  const plain = await context(there, { ...look(LOOKS[3]), javaScriptEnabled: false });
  const bare = await plain.newPage();
  await bare.goto("/claim");
  assert.match(await heading(bare), /Claim your account/);
  await noSidewaysScroll(bare);
  await shot(bare, "claim-start-oidc");
  await byMail(bare, there);
  assert.match(await line(bare.locator("main")), /1\. Your mailbox done/);
  await shot(bare, "claim-half-oidc");
  await bare.getByRole("link", { name: "Continue with Acme ID" }).click();
  await bare.waitForURL(/\/claim$/);
  assert.equal(await bare.getByLabel("What do you call this device?").count(), 0);
  await noSidewaysScroll(bare);
  await shot(bare, "claim-oidc");
  await bare.getByLabel(/Agents of Harbour/).check();
  await bare.getByRole("button", { name: "Claim this account" }).click();
  await bare.waitForURL(/done=claimed/);
  assert.equal(await budget(there), 401);
  await bare.goto("/dashboard/log-in");
  assert.match(await line(bare.locator("main")), /Acme ID Connected/);
  await shot(bare, "claim-methods");
  await plain.close();
});

for (const kind of LOOKS) {
  await checks.that(`the pages at an OpenID provider are accessible and fit: ${kind.name}`, async () => {
    const dressed = await context(there, look(kind));
    const other = await dressed.newPage();
    await other.goto("/claim");
    await good(other, `claim-start-oidc-${kind.name}`);
    await dressed.close();
  });
}

await checks.that("no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
issuer.close();
checks.end();
await Promise.all([here.stop(), there.stop()]);
