// Mails of a demo are files in a folder; and a log-in with the link of one.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

// Quoted-printable: a soft line break, and `=` itself.
const text = (folder, name) => readFileSync(join(folder, name), "utf8").replaceAll("=\r\n", "").replaceAll("=3D", "=");
/** The mails with a link of this kind, oldest first. */
export const mails = (folder, kind) =>
  readdirSync(folder).filter((name) => name.endsWith(".eml")).sort().map((name) => text(folder, name)).filter((mail) => mail.includes(kind));
const files = (folder) => mails(folder, "/login/link/");

/** Does `work`, which asks for a mail, and gives the link of the mail that then comes. */
export async function mailed(folder, work) {
  const before = files(folder).length;
  await work();
  for (let turn = 0; turn < 200; turn += 1) {
    const now = files(folder);
    if (now.length > before) {
      return /https?:\/\/\S+\/login\/link\/\S+/.exec(now.at(-1))[0];
    }
    await pause(50);
  }
  throw new Error("no mail came");
}

/** Logs the page's browser in by mail, with the pointer, and ends where the log-in leads. */
export async function logIn(page, demo, path = "/login") {
  const link = await mailed(demo.mail_folder, async () => {
    await page.goto(path);
    await page.getByLabel("Your e-mail address").fill(demo.email);
    await page.getByRole("button", { name: "Send me a link" }).click();
    await page.getByText("a mail with a link is on its way").waitFor();
  });
  await page.goto(link);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/login"));
}
