// A human at a real browser who is sent here by a program: logs in by mail where that is asked, and answers on the page.
import { createServer } from "node:http";
import { logIn } from "./mail.mjs";

/** Where a program on this computer waits for the answer; `next()` is the address that the browser then opens. */
export async function callback(path = "/callback") {
  const waiting = [];
  const server = createServer((request, answer) => {
    const url = new URL(request.url, `http://${request.headers.host}`);
    answer.writeHead(url.pathname === path ? 200 : 404, { "content-type": "text/plain" }).end("You can close this window.");
    if (url.pathname === path) waiting.shift()?.(url);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    uri: `http://127.0.0.1:${server.address().port}${path}`,
    next: () => new Promise((done) => waiting.push(done)),
    close: () => server.close(),
  };
}

/** Opens `url` and ends on the page that asks: through the log-in pages when nobody is logged in. */
export async function asked(page, demo, url, { loggedIn = false } = {}) {
  if (loggedIn) await page.goto(String(url));
  else await logIn(page, demo, String(url));
  if (!new URL(page.url()).pathname.startsWith("/consent/")) throw new Error(`not asked, but sent to ${page.url()}`);
}

/** Ticks everything, presses the button, and gives where the browser arrives at the program. */
export async function answers(page, back, button = "Allow") {
  for (const box of await page.getByRole("checkbox").all()) await box.check();
  const arrived = back.next();
  await page.getByRole("button", { name: button, exact: true }).click();
  return arrived;
}
