// The dashboard of a running demo, in real Chromium.
//
//   PORTREEVE_DEMO_JSON=demo.json node tests/browser/run.mjs      (SHOTS=dir keeps pictures)
//
// The file says where the demo is and what it should show:
// { "dashboard_url": one-use link, not opened yet,
//   "second_url":    another one-use link (or an access token that may ask for one),
//   "third_url":     another one,
//   "access_token":  of the account, with resources:write and dashboard:link,
//   "purchase":      body of a POST /v1/resources that is allowed unless spending is stopped,
//   "expected":      { "spent", "held", "cap", "left" } as a person reads them: "$41.20" }
// Without an access token or a purchase, the API half of the stop test fails: it is not skipped.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";

const demo = JSON.parse(readFileSync(process.env.PORTREEVE_DEMO_JSON, "utf8"));
const base = demo.base_url ?? new URL(demo.dashboard_url).origin;
const POLICY = ["default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"];
const checks = new Checks();
const browser = await launch();
const complaints = [];

/** A context in which every page's policy is checked and every complaint of the console kept. */
async function context(options) {
  const made = await browser.newContext({ baseURL: base, ...options });
  made.on("console", (message) => {
    const expected = /Failed to load resource.*(4\d\d)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) complaints.push(message.text());
  });
  made.on("weberror", (error) => complaints.push(String(error.error())));
  made.on("response", (response) => {
    const html = (response.headers()["content-type"] ?? "").startsWith("text/html");
    const policy = response.headers()["content-security-policy"] ?? "";
    if (html && !POLICY.every((part) => policy.includes(part))) complaints.push(`${response.url()}: policy "${policy}"`);
    if (new URL(response.url()).origin !== base) complaints.push(`asked another host: ${response.url()}`);
  });
  return made;
}

async function api(path, body) {
  const answer = await fetch(`${base}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${demo.access_token}`, "content-type": "application/json", "idempotency-key": randomUUID() },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

const spare = [demo.second_url, demo.third_url].filter(Boolean);
async function anotherLink() {
  if (spare.length > 0) return spare.shift();
  const { status, body } = await api("/v1/deep-links", {});
  assert.equal(status, 201, `no deep link: ${JSON.stringify(body)}`);
  return body.url;
}

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const sentence = (page) => line(page.locator("h1"));
const state = (page) => line(page.locator(".state"));
async function open(page, id) {
  if (!(await page.locator(`#${id}`).evaluate((part) => part.open))) await page.locator(`#${id} > summary`).click();
}
const minor = (shown) => Number(shown.replace(/[^0-9]/g, ""));
const major = (cents) => `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;

const main = await context(look(LOOKS[0]));
const page = await main.newPage();
const want = demo.expected;

await checks.that("looking at the link does not use it up, the button opens the dashboard", async () => {
  for (let time = 0; time < 2; time += 1) await page.goto(demo.dashboard_url);
  await accessible(page);
  await shot(page, "link");
  await page.getByRole("button", { name: "Open your dashboard" }).click();
  await page.waitForURL(`${base}/dashboard`);
});

await checks.that("the session cookie is out of reach of scripts and other sites", async () => {
  const cookie = (await main.cookies()).find(({ name }) => name.endsWith("portreeve_session"));
  assert.ok(cookie?.httpOnly && cookie.sameSite === "Lax", JSON.stringify({ ...cookie, value: "" }));
});

await checks.that("the sentence has the right numbers", async () => {
  const said = await sentence(page);
  const start = `${want.spent} of ${want.cap} spent, ${want.held} held. ${want.left} left`;
  assert.ok(said.startsWith(start), `"${said}" does not start with "${start}"`);
});

await checks.that("the link cannot be used twice", async () => {
  const other = await context(look(LOOKS[0]));
  const again = await other.newPage();
  const answer = await again.goto(demo.dashboard_url);
  if (answer.status() < 400) await again.getByRole("button", { name: "Open your dashboard" }).click();
  assert.match(await sentence(again), /no longer works/);
  await accessible(again);
  await again.goto("/dashboard");
  assert.match(await sentence(again), /log in/i);
  await other.close();
});

await checks.that("the ledger pages to its first entry, and every entry stands on one page only", async () => {
  const seen = new Set();
  for (let turn = 0; turn < 200; turn += 1) {
    const rows = await page.locator("#ledger tbody tr").evaluateAll((all) => all.map((row) => row.dataset.sequence));
    assert.ok(rows.length > 0, "a page without entries");
    for (const row of rows) assert.ok(row && !seen.has(row) && seen.add(row), `entry ${row} again`);
    const older = page.locator("#ledger").getByRole("link", { name: "Older" });
    if ((await older.count()) === 0) break;
    await older.click();
    await page.waitForLoadState();
  }
  assert.ok(seen.has("1"), "the first entry was not reached");
  await page.goto("/dashboard");
});

for (const kind of LOOKS) {
  await checks.that(`the dashboard is accessible and fits: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    for (const path of ["/dashboard", "/", "/docs/problems", "/docs/problems/spending_stopped", "/no-such-page"]) {
      await other.goto(path);
      await noSidewaysScroll(other);
      await accessible(other);
      await shot(other, `${path.replaceAll("/", "-").slice(1) || "home"}-${kind.name}`);
    }
    await other.goto("/dashboard");
    await other.evaluate(() => document.querySelectorAll("details").forEach((part) => part.removeAttribute("name")));
    await other.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
    await noSidewaysScroll(other);
    await accessible(other);
    await dressed.close();
  });
}

await checks.that("a cap that is no amount, or higher, is refused and keeps what was typed", async () => {
  for (const typed of ["a lot", major(minor(want.cap) + 100)]) {
    await open(page, "cap");
    await page.getByLabel(/New cap/).fill(typed);
    await page.getByRole("button", { name: "Lower the cap" }).click();
    await page.waitForSelector("#cap-problem");
    assert.equal(await page.getByLabel(/New cap/).inputValue(), typed);
    assert.ok((await sentence(page)).includes(` of ${want.cap} spent`), "the cap moved");
    await accessible(page);
  }
  await shot(page, "cap-refused");
  await page.goto("/dashboard");
});

await checks.that("lowering the cap works at once", async () => {
  const lower = minor(want.cap) - 1;
  await open(page, "cap");
  await page.getByLabel(/New cap/).fill(major(lower));
  await page.getByRole("button", { name: "Lower the cap" }).click();
  await page.waitForURL(/\/dashboard/);
  const said = await sentence(page);
  assert.ok(said.includes(` of $${major(lower).replace(/\B(?=(\d{3})+\.)/g, ",")} spent`), said);
});

await checks.that("stopped spending refuses a purchase with 402 spending_stopped, and resuming ends that", async () => {
  await open(page, "stop");
  await page.getByRole("button", { name: "Yes, stop new spending" }).click();
  await page.waitForSelector("#resume");
  assert.match(await state(page), /New spending is stopped/);
  await accessible(page);
  await shot(page, "stopped");
  const refused = await api("/v1/resources", demo.purchase);
  assert.equal(refused.status, 402, JSON.stringify(refused.body));
  assert.equal(refused.body.code, "spending_stopped");
  await open(page, "resume");
  await page.getByRole("button", { name: "Yes, resume spending" }).click();
  await page.waitForSelector("#stop");
  const allowed = await api("/v1/resources", demo.purchase);
  assert.notEqual(allowed.body.code, "spending_stopped", JSON.stringify(allowed.body));
});

await checks.that("all of it works with the keyboard alone", async () => {
  const keys = await context(look(LOOKS[0]));
  const typed = await keys.newPage();
  const tabTo = async (name) => {
    for (let step = 0; step < 60; step += 1) {
      await typed.keyboard.press("Tab");
      const found = await typed.evaluate(() => {
        const at = document.activeElement;
        const ring = getComputedStyle(at).outlineStyle !== "none";
        return { text: (at.innerText || at.id || "").trim(), ring };
      });
      if (found.text.startsWith(name)) return assert.ok(found.ring, `"${name}" shows no focus`);
    }
    throw new Error(`Tab does not reach "${name}"`);
  };
  await typed.goto(await anotherLink());
  await tabTo("Skip to content");
  await tabTo("Open your dashboard");
  await Promise.all([typed.waitForURL(`${base}/dashboard`), typed.keyboard.press("Enter")]);
  await tabTo("Stop new spending");
  await typed.keyboard.press("Enter");
  await tabTo("Yes, stop new spending");
  await typed.keyboard.press("Enter");
  await typed.waitForSelector("#resume");
  await tabTo("Resume spending");
  await typed.keyboard.press("Enter");
  await tabTo("Yes, resume spending");
  await typed.keyboard.press("Enter");
  await typed.waitForSelector("#stop");
  await keys.close();
});

await checks.that("all of it works without script, and logging out ends the session", async () => {
  const plain = await context({ ...look(LOOKS[2]), javaScriptEnabled: false });
  const bare = await plain.newPage();
  await bare.goto(await anotherLink());
  await bare.getByRole("button", { name: "Open your dashboard" }).click();
  await bare.waitForURL(`${base}/dashboard`);
  await bare.locator("#stop > summary").click();
  await bare.getByRole("button", { name: "Yes, stop new spending" }).click();
  assert.match(await state(bare), /New spending is stopped/);
  await bare.locator("#resume > summary").click();
  await bare.getByRole("button", { name: "Yes, resume spending" }).click();
  assert.match(await state(bare), /Blocks/);
  await bare.getByRole("button", { name: "Log out" }).click();
  assert.match(await sentence(bare), /logged out/);
  await bare.goto("/dashboard");
  assert.match(await sentence(bare), /log in/i);
  await plain.close();
});

await checks.that("a form of another site is refused", async () => {
  const [{ name, value }] = await main.cookies();
  const forged = { method: "POST", headers: { cookie: `${name}=${value}`, "sec-fetch-site": "cross-site", origin: "https://elsewhere.example" } };
  const answer = await fetch(`${base}/dashboard/stop`, forged);
  assert.equal(answer.status, 403);
  await page.goto("/dashboard");
  assert.match(await state(page), /Blocks/);
});

await checks.that("every page held the policy, and no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
