// Debian's Chromium, started quietly; and what the tests share: a count, axe, and the page's width.
import { chromium } from "playwright-core";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(import.meta.url);
const AXE = require.resolve("axe-core/axe.min.js");
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export const LOOKS = [
  { name: "light", width: 1200, scheme: "light" },
  { name: "dark", width: 1200, scheme: "dark" },
  { name: "360-light", width: 360, scheme: "light" },
  { name: "360-dark", width: 360, scheme: "dark" },
];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS });
}

export function look({ width, scheme }) {
  return { viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: "reduce" };
}

/** Runs named checks one after another and counts; a failed check does not stop the next. */
export class Checks {
  passed = 0;
  failed = 0;

  async that(name, work) {
    try {
      await work();
      this.passed += 1;
      console.log(`ok    ${name}`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL  ${name}\n      ${String(error?.message ?? error).split("\n").join("\n      ")}`);
    }
  }

  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exitCode = this.failed === 0 && this.passed > 0 ? 0 : 1;
  }
}

/** Zero violations of WCAG 2.2 AA. axe is put in by the debugger, which the page's policy does not concern. */
export async function accessible(page) {
  const client = await page.context().newCDPSession(page);
  const { readFileSync } = await import("node:fs");
  await client.send("Runtime.evaluate", { expression: readFileSync(AXE, "utf8") });
  const violations = await page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const result = await globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return result.violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.slice(0, 4).map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
    }));
  });
  await client.detach();
  if (violations.length > 0) throw new Error(JSON.stringify(violations, null, 1));
}

/** Nothing sticks out to the right. */
export async function noSidewaysScroll(page) {
  const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > seen) throw new Error(`the page is ${wide} px wide, the window ${seen} px`);
}

export async function shot(page, name) {
  const folder = process.env.SHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
