// The dashboard of a running demo, in real Chromium.
//
//   PORTREEVE_DEMO_JSON=demo.json node tests/browser/run.mjs      (SHOTS=dir keeps pictures)
//
// The file says where the demo is and what it should show:
// { "dashboard_url": one-use link, not opened yet,
//   "second_url":    another one-use link (or an access token that may ask for one),
//   "third_url":     another one,
//   "mail_folder", "email": where mails are written to, and the person's address,
//   "access_token":  of the account, with resources:write and dashboard:link,
//   "purchase":      body of a POST /v1/resources that is allowed unless spending is stopped,
//   "expected":      { "spent", "held", "cap", "left" } as a person reads them: "$41.20" }
// Without an access token or a purchase, the API half of the stop test fails: it is not skipped.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { logIn } from "./mail.mjs";

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
    const focus = /autofocus/i.test(message.text()); // Chromium tells this one as information.
    if ((["error", "warning"].includes(message.type()) || focus) && !expected) complaints.push(message.text());
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

await checks.that("whoever came by a link can stop spending and is asked to log in to resume", async () => {
  await open(page, "stop");
  await page.getByRole("button", { name: "Yes, stop new spending" }).click();
  await page.getByRole("link", { name: "Log in to resume" }).waitFor();
  assert.equal(await page.locator("#resume, #raise").count(), 0);
  await accessible(page);
  await shot(page, "stopped-by-link");
  await logIn(page, demo);
  await page.waitForURL(`${base}/dashboard`);
  await open(page, "resume");
  await page.getByRole("button", { name: "Yes, resume spending" }).click();
  await page.waitForSelector("#stop");
});

const rows = (where) => where.locator("#ledger tbody tr").evaluateAll((all) => all.map((row) => Number(row.dataset.sequence)));
const older = (where) => where.locator("#ledger").getByRole("link", { name: "Older" });
/** A page that is loaded again loses its mark. */
const mark = (where) => where.evaluate(() => (globalThis.mark = "kept"));
async function kept(where) {
  assert.equal(await where.evaluate(() => globalThis.mark), "kept", "the page was loaded again");
}

await checks.that("without script, the ledger pages to its first entry, and every entry stands on one page only", async () => {
  const plain = await context({ ...look(LOOKS[0]), javaScriptEnabled: false, storageState: await main.storageState() });
  const bare = await plain.newPage();
  await bare.goto("/dashboard");
  const seen = new Set();
  for (let turn = 0; turn < 200; turn += 1) {
    // `evaluate` is the debugger's, not the page's.
    const shown = await rows(bare);
    assert.ok(shown.length > 0, "a page without entries");
    for (const row of shown) assert.ok(row && !seen.has(row) && seen.add(row), `entry ${row} again`);
    if ((await older(bare).count()) === 0) break;
    await older(bare).click();
    await bare.waitForLoadState();
  }
  assert.ok(seen.has(1), "the first entry was not reached");
  assert.ok(seen.size > 10, `${seen.size} entries are one page: nothing was paged`);
  await plain.close();
});

for (const kind of LOOKS) {
  await checks.that(`with script, older entries come below the others and the page stays: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto("/dashboard");
    await mark(other);
    for (let before = await rows(other); (await older(other).count()) > 0; before = await rows(other)) {
      await older(other).scrollIntoViewIfNeeded();
      const where = await other.evaluate(() => scrollY);
      await older(other).click();
      await other.waitForFunction((count) => document.querySelectorAll("#ledger-rows tr").length > count, before.length);
      const focus = await other.evaluate(() => [Number(document.activeElement.dataset.sequence), scrollY]);
      assert.deepEqual(focus, [before.at(-1) - 1, where], "the first new entry has the focus, and nothing jumped");
    }
    const all = await rows(other);
    assert.deepEqual(all, Array.from(all, (_, index) => all.length - index), "every entry once, newest first");
    assert.match(await line(other.locator("#ledger-pages")), /first entry/);
    assert.equal(new URL(other.url()).search, "", "the address is still that of the whole page");
    await kept(other);
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `ledger-${kind.name}`);
    await dressed.close();
  });
}

await checks.that("a click with Ctrl on Older opens the older page in a tab of its own", async () => {
  const [tab] = await Promise.all([main.waitForEvent("page", { timeout: 5000 }), older(page).click({ modifiers: ["Control"] })]);
  await tab.waitForLoadState();
  assert.match(tab.url(), /ledger_before=/);
  assert.match(await line(tab.locator("#ledger-pages")), /Newest/);
  await tab.close();
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

for (const kind of LOOKS) {
  await checks.that(`opening one control brings no other under the pointer: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto("/dashboard");
    for (const [pressed, stays] of [["cap", "stop"], ["stop", "cap"]]) {
      const button = other.locator(`#${pressed} > summary`);
      await button.scrollIntoViewIfNeeded();
      const { x, y, width, height } = await button.boundingBox();
      await button.click();
      const under = ([x, y, id]) => document.elementFromPoint(x, y)?.closest(`#${id}`) !== null;
      assert.equal(await other.evaluate(under, [x + width / 2, y + height / 2, stays]), false, `${stays} came under the pointer`);
      assert.equal(await other.evaluate(under, [x + width / 2, y + height / 2, pressed]), true, `${pressed} went away`);
      await button.click();
    }
    await dressed.close();
  });
}

const told = (where) => line(where.locator("#told[role=status]"));
await page.goto("/dashboard");
await mark(page);

await checks.that("a cap that is no amount, or higher, is refused in place and keeps what was typed", async () => {
  let refused;
  for (const typed of ["a lot", major(minor(want.cap) + 100)]) {
    await open(page, "cap");
    await page.getByLabel(/New cap/).fill(typed);
    await page.getByRole("button", { name: "Lower the cap" }).click();
    // Until then the focus is on the button.
    await page.waitForFunction((was) => {
      const problem = document.querySelector("#cap-problem")?.innerText;
      return problem && problem !== was && document.activeElement.id === "ceiling";
    }, refused);
    refused = await page.locator("#cap-problem").innerText();
    await kept(page);
    assert.equal(await page.getByLabel(/New cap/).inputValue(), typed);
    assert.ok((await sentence(page)).includes(` of ${want.cap} spent`), "the cap moved");
    await accessible(page);
  }
  await shot(page, "cap-refused");
});

await checks.that("lowering the cap works at once", async () => {
  const lower = minor(want.cap) - 1;
  await open(page, "cap");
  await page.getByLabel(/New cap/).fill(major(lower));
  await page.getByRole("button", { name: "Lower the cap" }).click();
  if (lower < minor(want.spent) + minor(want.held)) {
    // Below what is spent: asked once more, and nothing is done until then.
    // The problem of the form refused before may still be shown, and is no sign: the question has a button of its own.
    await page.getByRole("button", { name: "Yes, lower the cap" }).waitFor();
    assert.match(await line(page.locator("#cap-problem")), /spent or held already/);
    assert.ok((await sentence(page)).includes(` of ${want.cap} spent`), "the cap moved");
    await accessible(page);
    await page.getByRole("button", { name: "Yes, lower the cap" }).click();
  }
  const shown = `$${major(lower).replace(/\B(?=(\d{3})+\.)/g, ",")}`;
  await page.locator("#told > p", { hasText: "The cap is" }).waitFor();
  assert.equal(await told(page), `The cap is ${shown} now.`);
  const said = await sentence(page);
  assert.ok(said.includes(` of ${shown} spent`), said);
  if (lower < minor(want.spent) + minor(want.held)) assert.match(said, /over the cap/);
  assert.match(await line(page.locator("#activity li").first()), /lowered the cap/);
  assert.match(await line(page.locator("#days .legend")), new RegExp(`Cap \\${shown}`));
  await kept(page);
});

await checks.that("stopped spending refuses a purchase with 402 spending_stopped, and resuming ends that", async () => {
  await open(page, "stop");
  await page.getByRole("button", { name: "Yes, stop new spending" }).click();
  await page.waitForSelector("#resume");
  assert.match(await state(page), /New spending is stopped/);
  assert.match(await told(page), /New spending is stopped/);
  assert.match(await line(page.locator("#activity li").first()), /stopped new spending/);
  assert.equal(await page.evaluate(() => document.activeElement.innerText.trim()), "Resume spending");
  await kept(page);
  await accessible(page);
  await shot(page, "stopped");
  const refused = await api("/v1/resources", demo.purchase);
  assert.equal(refused.status, 402, JSON.stringify(refused.body));
  assert.equal(refused.body.code, "spending_stopped");
  await open(page, "resume");
  await page.getByRole("button", { name: "Yes, resume spending" }).click();
  await page.waitForSelector("#stop");
  assert.match(await told(page), /allowed again/);
  await kept(page);
  const allowed = await api("/v1/resources", demo.purchase);
  assert.notEqual(allowed.body.code, "spending_stopped", JSON.stringify(allowed.body));
});

for (const kind of LOOKS) {
  await checks.that(`what script put in place is accessible and fits: ${kind.name}`, async () => {
    const dressed = await context({ ...look(kind), storageState: await main.storageState() });
    const other = await dressed.newPage();
    await other.goto("/dashboard");
    await mark(other);
    for (const [from, to] of [["stop", "resume"], ["resume", "stop"]]) {
      await open(other, from);
      await other.locator(`#${from} button`).click();
      await other.waitForSelector(`#${to}`);
      await other.waitForFunction(() => document.activeElement.tagName === "SUMMARY");
      await noSidewaysScroll(other);
      await accessible(other);
      await shot(other, `put-${to}-${kind.name}`);
      await kept(other);
    }
    await open(other, "cap");
    await other.getByLabel(/New cap/).fill("much");
    await other.getByRole("button", { name: "Lower the cap" }).click();
    await other.waitForSelector("#cap-problem");
    await noSidewaysScroll(other);
    await accessible(other);
    await shot(other, `put-refused-${kind.name}`);
    await kept(other);
    await dressed.close();
  });
}

await checks.that("when a part cannot be had, the form is sent the plain way", async () => {
  const cut = await context({ ...look(LOOKS[0]), storageState: await main.storageState() });
  const other = await cut.newPage();
  await other.goto("/dashboard");
  await mark(other);
  let refused = 0;
  await other.route("**/dashboard/stop", (route) => {
    if (!route.request().headers()["hx-request"]) return route.continue();
    refused += 1;
    return route.abort();
  });
  const before = complaints.length;
  await open(other, "stop");
  await other.getByRole("button", { name: "Yes, stop new spending" }).click();
  await other.waitForSelector("#resume");
  assert.equal(refused, 1);
  assert.equal(await other.evaluate(() => globalThis.mark), undefined, "a whole new page");
  complaints.splice(before); // The lost request is told in the console, as it should be.
  await open(other, "resume");
  await other.getByRole("button", { name: "Yes, resume spending" }).click();
  await other.waitForSelector("#stop");
  await cut.close();
});

await checks.that("when the session ended, no log-in page is put into the page: the browser goes there", async () => {
  const ended = await context(look(LOOKS[0]));
  const other = await ended.newPage();
  await other.goto(await anotherLink());
  await other.getByRole("button", { name: "Open your dashboard" }).click();
  await other.waitForURL(`${base}/dashboard`);
  await mark(other);
  await ended.clearCookies();
  await open(other, "stop");
  await other.getByRole("button", { name: "Yes, stop new spending" }).click();
  await other.waitForFunction(() => /log in/i.test(document.querySelector("h1").innerText));
  assert.equal(await other.evaluate(() => globalThis.mark), undefined, "a whole new page");
  assert.equal(await other.locator("#spend, #ledger, .who").count(), 0);
  await ended.close();
});

await checks.that("when the server cannot answer, its page is shown whole", async () => {
  const busy = await context({ ...look(LOOKS[0]), storageState: await main.storageState() });
  const other = await busy.newPage();
  await other.goto("/dashboard");
  // The page of a form from another site stands for every page that is no part.
  await other.route("**/dashboard/stop", async (route) => {
    const { host, ...headers } = route.request().headers();
    const answer = await fetch(route.request().url(), { method: "POST", headers: { ...headers, "sec-fetch-site": "cross-site" } });
    await route.fulfill({ status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() });
  });
  await open(other, "stop");
  await other.getByRole("button", { name: "Yes, stop new spending" }).click();
  await other.waitForFunction(() => /not allowed/.test(document.querySelector("h1").innerText));
  assert.equal(await other.locator("#spend, #ledger").count(), 0);
  assert.equal(await other.locator("main").count(), 1);
  assert.match(await other.title(), /not allowed/);
  await accessible(other);
  await busy.close();
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
  await logIn(typed, demo);
  await tabTo("Stop new spending");
  await typed.keyboard.press("Enter");
  await tabTo("Yes, stop new spending");
  await typed.keyboard.press("Enter");
  await typed.waitForSelector("#resume");
  // The focus is where the button was: on the way back.
  await typed.waitForFunction(() => document.activeElement.innerText.trim() === "Resume spending");
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
  await logIn(bare, demo);
  await bare.locator("#stop > summary").click();
  await bare.getByRole("button", { name: "Yes, stop new spending" }).click();
  assert.match(await state(bare), /New spending is stopped/);
  assert.match(await told(bare), /New spending is stopped\. Every purchase is refused/);
  await bare.locator("#resume > summary").click();
  await bare.getByRole("button", { name: "Yes, resume spending" }).click();
  assert.match(await state(bare), /Blocks/);
  assert.match(await told(bare), /Spending is allowed again/);
  await bare.getByRole("button", { name: "Log out" }).click();
  assert.match(await sentence(bare), /logged out/);
  await bare.goto("/dashboard");
  assert.match(await sentence(bare), /log in/i);
  await plain.close();
});

await checks.that("a form of another site is refused", async () => {
  const { name, value } = (await main.cookies()).find((cookie) => cookie.name.endsWith("portreeve_session"));
  const forged = { method: "POST", headers: { cookie: `${name}=${value}`, "sec-fetch-site": "cross-site", origin: "https://elsewhere.example" } };
  const answer = await fetch(`${base}/dashboard/stop`, forged);
  assert.equal(answer.status, 403);
  await page.goto("/dashboard");
  assert.match(await state(page), /Blocks/);
});

await checks.that("every page held the policy, and no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
