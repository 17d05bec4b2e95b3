// A human with a browser, as far as it matters: keeps one cookie, looks at the page, and presses a button.
export function human(base, session) {
  const cookie = `portreeve_session=${session}`;
  const opens = (url) => fetch(new URL(url, base), { redirect: "manual", headers: { cookie } });

  // Opens where a client sent the browser; the page that asks.
  async function asked(url) {
    const answer = await opens(url);
    if (answer.status !== 303) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
    const page = answer.headers.get("location");
    if (!page.startsWith("/consent/")) return { sentTo: page };
    const shown = await opens(page);
    const html = await shown.text();
    if (shown.status !== 200) throw new Error(`the page answered ${shown.status}: ${html}`);
    return { page, html, scopes: [...html.matchAll(/name="scope" value="([^"]+)"/g)].map(([, scope]) => scope) };
  }

  // Presses; where the browser is sent then.
  async function presses(page, button, scopes) {
    const body = new URLSearchParams(scopes.map((scope) => ["scope", scope]));
    const answer = await fetch(new URL(`${page}/${button}`, base), {
      method: "POST", redirect: "manual", body, headers: { cookie, origin: new URL(base).origin },
    });
    if (answer.status !== 303) throw new Error(`${button} answered ${answer.status}: ${await answer.text()}`);
    return new URL(answer.headers.get("location"));
  }

  // Allows everything that is asked.
  async function allows(url) {
    const { page, scopes, sentTo } = await asked(url);
    if (sentTo) throw new Error(`nobody was asked: ${sentTo}`);
    return presses(page, "allow", scopes);
  }

  return { asked, presses, allows };
}
