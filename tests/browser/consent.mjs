// The page that asks for a program, in all its states, in real Chromium, against a demo of its own.
//
//   node tests/browser/consent.mjs      (SHOTS=dir keeps pictures; PORTREEVE=program)
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { operator, start } from "./demo.mjs";
import { logIn } from "./mail.mjs";

const demo = await start({ PORTREEVE__OAUTH__PROMPTS_PER_DAY: "0" }, { localhost: true });
const base = demo.base_url;
const away = "https://pilot.example/callback";
const checks = new Checks();
const browser = await launch();
const complaints = [];

async function context(options) {
  const made = await browser.newContext({ baseURL: base, ...options });
  made.on("console", (message) => {
    const expected = /Failed to load resource.*(4\d\d|ERR_NAME_NOT_RESOLVED)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) complaints.push(message.text());
  });
  made.on("weberror", (error) => complaints.push(String(error.error())));
  return made;
}

/** A client of the operator's. */
const registered = (name) => operator(demo, "client", "add", name, "--redirect-uri", away).client_id;

/** A client that registers itself. */
async function stranger(name, redirect) {
  const answer = await fetch(`${base}/oauth/register`, {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_name: name, redirect_uris: [redirect] }),
  });
  return (await answer.json()).client_id;
}

const challenge = createHash("sha256").update(randomBytes(32).toString("hex")).digest("base64url");

/** Where a client sends the browser. */
function asks(client, scope, more = {}) {
  const query = new URLSearchParams({
    response_type: "code", client_id: client, redirect_uri: away, scope, state: "s", code_challenge: challenge,
    code_challenge_method: "S256", ...more,
  });
  return `/oauth/authorize?${query}`;
}

/** Where the browser is sent at the client's when `work` is done: nothing answers there. */
async function sentBack(page, work) {
  const asked = page.waitForRequest((request) => request.url().startsWith(away));
  await work().catch(() => {});
  return new URL((await asked).url()).searchParams;
}

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const heading = (page) => line(page.locator("h1"));
const main = await context(look(LOOKS[0]));
const page = await main.newPage();
await logIn(page, demo, "/login?max_age=0");

const everything = "resources:read resources:write resources:delete budget:read dashboard:link";
const plan = JSON.stringify([
  { type: "plan", resources: [{ service: "postgres", plan: "small", count: 2 }, { service: "weather", plan: "metered" }, { service: "sandbox", plan: "free" }] },
  { type: "spend", currency: "USD", max_per_month: "40.00", max_single: "15.00", expires_at: "2027-02-20T00:00:00Z" },
]);
const pilot = registered("Harbour Pilot");

await checks.that("a part is allowed, and the browser goes back with a code", async () => {
  await page.goto(asks(pilot, "resources:read budget:read"));
  await page.getByLabel("the budget and the ledger").uncheck();
  const back = await sentBack(page, () => page.getByRole("button", { name: "Allow", exact: true }).click());
  assert.ok(back.get("code") && back.get("iss") === base, String(back));
});

await checks.that("what is allowed is not asked again", async () => {
  const back = await sentBack(page, () => page.goto(asks(pilot, "resources:read")));
  assert.ok(back.get("code"), String(back));
});

const states = [
  ["plan", asks(registered("Fieldnotes Builder"), "resources:read resources:write", { authorization_details: plan }), /could spend up to \$40\.00 a month here until 20 Feb 2027, and create 4 resources/],
  ["stranger", asks(await stranger("Codex Seven", away), everything), /Codex Seven could spend up to \$\d+\.00 a month/],
  ["needed", asks(registered("Ledger Reader"), "resources:read budget:read", { optional_scopes: "budget:read" }), /asks to look at your account/],
  ["difference", asks(pilot, everything, { prompt: "consent" }), /Harbour Pilot could spend/],
];
const mistaken = await stranger("Harbour Mistake", away);
const local = await stranger("Shell Helper", "http://127.0.0.1/cb");
states.push(["local", asks(local, "resources:read", { redirect_uri: "http://127.0.0.1:4711/cb" }), /Shell Helper asks to look/]);

for (const kind of LOOKS) {
  await logIn(page, demo, "/login?max_age=0"); // Only somebody who logged in within five minutes is asked.
  for (const [name, path, wanted] of states) {
    await checks.that(`the page is accessible, fits, and says no as easily as yes: ${name}, ${kind.name}`, async () => {
      const dressed = await context({ ...look(kind), storageState: await main.storageState() });
      const other = await dressed.newPage();
      await other.goto(path);
      // A question of another look may be open still: this one goes first.
      if (/something else already/.test(await heading(other))) await other.getByRole("button", { name: "Answer this one" }).click();
      assert.match(await heading(other), wanted);
      const [allow, deny] = await Promise.all(["Allow", "Deny"].map((text) => other.getByRole("button", { name: text, exact: true }).boundingBox()));
      assert.ok(Math.abs(allow.height - deny.height) < 1 && Math.abs(allow.width - deny.width) < 1, "of one size");
      assert.ok(Math.abs(allow.y - deny.y) < 1, "side by side");
      assert.equal(await other.evaluate(() => document.activeElement === document.body), true, "neither has the focus");
      assert.equal(await other.locator("img").count(), 0, "never a logo");
      await noSidewaysScroll(other);
      await accessible(other);
      await shot(other, `question-${name}-${kind.name}`);
      await dressed.close();
    });
  }

  await checks.that(`a request that cannot be answered sends nobody on, is accessible and fits: ${kind.name}`, async () => {
    const alone = await context(look(kind));
    const other = await alone.newPage();
    await other.goto(asks(mistaken, "budget:read", { response_type: "token" }));
    assert.match(await heading(other), /cannot be answered/);
    assert.match(await line(other.locator("main")), /pilot\.example/);
    await shot(other, `sent-back-${kind.name}`);
    await noSidewaysScroll(other);
    await accessible(other);
    await alone.close();
  });

  await checks.that(`a question that waits is accessible and fits: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto(asks(local, "budget:read", { redirect_uri: "http://127.0.0.1:4711/cb" }));
    assert.match(await heading(other), /Shell Helper is asking you something else already/);
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `question-waits-${kind.name}`);
    await other.getByRole("link", { name: /Answer the older one/ }).click();
    assert.match(await heading(other), /Shell Helper asks to look/);
    await dressed.close();
  });
}

await checks.that("with the keyboard alone and without script a person unticks, and Enter on a tick denies", async () => {
  const typed = await (await context({ ...look(LOOKS[0]), javaScriptEnabled: false, storageState: await main.storageState() })).newPage();
  const quiet = registered("Quiet Keys");
  await typed.goto(asks(quiet, "resources:read budget:read"));
  const tick = typed.getByLabel("the budget and the ledger");
  for (let step = 0; step < 30 && !(await tick.evaluate((box) => box === document.activeElement)); step += 1) await typed.keyboard.press("Tab");
  await typed.keyboard.press("Space");
  assert.equal(await tick.isChecked(), false);
  const denied = await sentBack(typed, () => typed.keyboard.press("Enter"));
  assert.equal(denied.get("error"), "access_denied");
  const again = await sentBack(typed, () => typed.goto(asks(quiet, "resources:read budget:read")));
  assert.equal(again.get("error"), "access_denied");
  assert.ok(Number(again.get("retry_after")) > 0, "refused a moment ago");
  await typed.context().close();
});

await checks.that("no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
await demo.stop();
