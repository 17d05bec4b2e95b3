// The sample pages that the unit tests write to target/pages: each in light and dark, wide and at 360 px.
//   cargo test --release --lib pages && node tests/browser/static.mjs     (SHOTS=dir keeps pictures)
import { readdirSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { join } from "node:path";
import { Checks, LOOKS, accessible, launch, look, noSidewaysScroll, shot } from "./chromium.mjs";

const folder = fileURLToPath(new URL("../../target/pages", import.meta.url));
const pages = readdirSync(folder).filter((name) => name.endsWith(".html"));
const only = process.argv[2];
const checks = new Checks();
const browser = await launch();
for (const kind of LOOKS) {
  const context = await browser.newContext(look(kind));
  const page = await context.newPage();
  for (const name of pages.filter((name) => !only || name === `${only}.html`)) {
    await checks.that(`${name} ${kind.name}`, async () => {
      await page.goto(pathToFileURL(join(folder, name)).href);
      await shot(page, `${name.replace(".html", "")}-${kind.name}`);
      await noSidewaysScroll(page);
      await accessible(page);
      await page.evaluate(() => document.querySelectorAll("details:not([name])").forEach((part) => (part.open = true)));
      await page.evaluate(() => document.querySelectorAll("details[name]").forEach((part) => (part.open = true)));
      await noSidewaysScroll(page);
      await accessible(page);
      if (name.startsWith("overview")) await shot(page, `${name.replace(".html", "")}-${kind.name}-open`);
    });
  }
  await context.close();
}
await browser.close();
checks.end();
