// The pages of agents, the link of the mail about a new one, resources, export and closing, in real Chromium, against a demo
// of its own.
//
//   node tests/browser/agents.mjs      (SHOTS=dir keeps pictures; PORTREEVE=program)
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";
import { start } from "./demo.mjs";
import { logIn } from "./mail.mjs";

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

const line = async (where) => (await where.innerText()).replace(/\s+/g, " ").trim();
const heading = (page) => line(page.locator("h1"));
const api = (path) => fetch(`${base}${path}`, { headers: { authorization: `Bearer ${demo.access_token}` } });
const main = await context(look(LOOKS[0]));
const page = await main.newPage();
await logIn(page, demo);
await page.goto("/dashboard/agents");
const agent = new URL(await page.locator("h2 a").first().getAttribute("href"), base).pathname;
await page.goto("/dashboard");
const resource = new URL(await page.locator("#resources th a").first().getAttribute("href"), base).pathname;

/** The link of the newest mail about a new agent. */
function safetyLink() {
  const mails = readdirSync(demo.mail_folder).filter((name) => name.endsWith(".eml")).sort();
  const texts = mails.map((name) => readFileSync(join(demo.mail_folder, name), "utf8").replaceAll("=\r\n", "").replaceAll("=3D", "="));
  const links = texts.map((text) => /https?:\/\/\S+\/safety\/\S+/.exec(text)?.[0]).filter(Boolean);
  return links.at(-1);
}

for (const kind of LOOKS) {
  await checks.that(`the pages of agents and of the account are accessible and fit: ${kind.name}`, async () => {
    const inside = await context({ ...look(kind), storageState: await main.storageState() });
    const tab = await inside.newPage();
    for (const [name, path] of [
      ["agents", "/dashboard/agents"], ["agent", agent], ["agent-undo", `${agent}/undo`], ["resource", resource],
      ["account", "/dashboard/account"], ["export", "/dashboard/export"], ["close", "/dashboard/close"],
    ]) {
      assert.equal((await tab.goto(path)).status(), 200, path);
      await noSidewaysScroll(tab);
      await accessible(tab);
      assert.equal(await tab.evaluate(() => document.activeElement === document.body), true, `${name}: nothing has the focus`);
      await shot(tab, `${name}-${kind.name}`);
    }
    await tab.goto(agent);
    await tab.evaluate(() => document.querySelectorAll("details").forEach((part) => part.removeAttribute("name")));
    await tab.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
    await noSidewaysScroll(tab);
    await accessible(tab);
    await shot(tab, `agent-open-${kind.name}`);
    await inside.close();
    const stranger = await context(look(kind));
    const mailed = await stranger.newPage();
    assert.equal((await mailed.goto(safetyLink())).status(), 200);
    await noSidewaysScroll(mailed);
    await accessible(mailed);
    await shot(mailed, `safety-${kind.name}`);
    await stranger.close();
  });
}

await checks.that("without script an agent's cap is lowered, it is paused and goes on", async () => {
  const plain = await context({ ...look(LOOKS[0]), javaScriptEnabled: false, storageState: await main.storageState() });
  const tab = await plain.newPage();
  await tab.goto(agent);
  await tab.locator("#cap > summary").click();
  await tab.locator("#ceiling").fill("much");
  await tab.getByRole("button", { name: "Lower its cap" }).click();
  assert.match(await line(tab.locator("#cap-problem")), /Write an amount like/);
  await tab.locator("#ceiling").fill("99");
  await tab.getByRole("button", { name: "Lower its cap" }).click();
  assert.match(await line(tab.locator("#told")), /at most \$99\.00/);
  await tab.locator("#pause > summary").click();
  await tab.getByRole("button", { name: "Yes, pause it" }).click();
  assert.match(await line(tab.locator("#told")), /is paused/);
  assert.equal((await api("/v1/budget")).status, 403);
  await tab.locator("#resume > summary").click();
  await tab.getByRole("button", { name: "Yes", exact: true }).click();
  assert.match(await line(tab.locator("#told")), /may act again/);
  assert.equal((await api("/v1/budget")).status, 200);
  await plain.close();
});

await checks.that("with the keyboard alone an agent is paused, and each control shows its focus", async () => {
  await page.goto(agent);
  const tabTo = async (name) => {
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const found = await page.evaluate(() => {
        const at = document.activeElement;
        return { text: (at.innerText || at.id || "").trim(), ring: getComputedStyle(at).outlineStyle !== "none" };
      });
      if (found.text === name) return assert.ok(found.ring, `"${name}" shows no focus`);
    }
    throw new Error(`Tab does not reach "${name}"`);
  };
  await tabTo("Pause it");
  await page.keyboard.press("Enter");
  await tabTo("Yes, pause it");
  await Promise.all([page.waitForURL(/done=paused/), page.keyboard.press("Enter")]);
  await accessible(page);
  await shot(page, "agent-paused");
  await page.locator("#resume > summary").click();
  await page.getByRole("button", { name: "Yes", exact: true }).click();
  await page.waitForURL(/done=resumed/);
});

await checks.that("the link of a mail pauses without a log-in, and offers nothing that gives power", async () => {
  const outside = await context(look(LOOKS[3]));
  const tab = await outside.newPage();
  await tab.goto(safetyLink());
  await tab.getByRole("button", { name: "Pause it" }).click();
  assert.match(await line(tab.locator("#told")), /Only you can let it go on/);
  assert.deepEqual(await tab.getByRole("button").allInnerTexts(), ["End it", "Stop new spending"]);
  assert.deepEqual(await outside.cookies(), []);
  await accessible(tab);
  await shot(tab, "safety-paused");
  await tab.goto(`${base}/safety/agt_x.1.x`);
  assert.match(await heading(tab), /does not work/);
  await accessible(tab);
  await outside.close();
});

await checks.that("the export is one JSON document", async () => {
  await page.goto("/dashboard/export");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  const document = JSON.parse(readFileSync(await download.path(), "utf8"));
  assert.equal(document.format, "portreeve-export/1");
  assert.ok(document.ledger.length > 10 && document.agents.length > 0);
});

await checks.that("an agent is ended and its last hour undone, after the list of what that is", async () => {
  await page.goto(`${agent}/undo`);
  assert.match(await heading(page), /undo what it bought since/);
  await page.getByRole("button", { name: "End it and undo this" }).click();
  await page.waitForURL(/done=undone/);
  assert.match(await line(page.locator("#told")), /is being undone/);
  await accessible(page);
  await shot(page, "agent-undone");
});

await checks.that("the account is closed by the typed word, and nothing works after it", async () => {
  await page.goto("/dashboard/close");
  await page.locator("#word").fill("yes");
  await page.getByRole("button", { name: "Close the account" }).click();
  await page.waitForSelector("#word-problem");
  await accessible(page);
  await shot(page, "close-refused");
  await page.locator("#word").fill("close");
  await page.getByRole("button", { name: "Close the account" }).click();
  await page.waitForFunction(() => /is closing/.test(document.querySelector("h1").innerText));
  await accessible(page);
  await shot(page, "closing");
  await page.goto("/dashboard");
  assert.match(await heading(page), /log in/i);
});

await checks.that("no browser complained", async () => assert.deepEqual(complaints, []));

await browser.close();
checks.end();
await demo.stop();
