// Calls the provisioning wire of a provider, signed by unmodified packages.
//
//   node verify.mjs BASE_URL PORT_OF_THE_KEYS PORTREEVE      (in the provider's folder)
//
// Exit 0: everything was answered as it must be. Exit 1: anything else.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const [base, port, program] = process.argv.slice(2);
const stripe = new Stripe("sk_test_nothing_is_sent_there");
const lines = readFileSync("settings.json", "utf8").trim().split("\n").map((line) => JSON.parse(line));
const notificationSecret = lines.find((line) => line.notification_secret?.startsWith)?.notification_secret;
const { secret } = JSON.parse(readFileSync("secret.json", "utf8"));
assert.ok(secret.startsWith("whsec_") && notificationSecret.startsWith("whsec_"));

// The orchestrator's side: its keys for the second signature, and where it hears of events.
const pair = await generateKeyPair("EdDSA", { crv: "Ed25519" });
const jwk = await exportJWK(pair.publicKey);
const asked = [];
const heard = [];
const orchestrator = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    if (request.url === "/notifications") {
      heard.push({ headers: request.headers, body });
      return response.end("{}");
    }
    asked.push(request.headers.authorization);
    const key = { kid: "pk_1", kty: "OKP", crv: jwk.crv, x: jwk.x, expires_at: new Date(Date.now() + 86_400_000) };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ public_keys: [key] }));
  });
});
await new Promise((resolve) => orchestrator.listen(Number(port), "127.0.0.1", resolve));

const seconds = () => Math.floor(Date.now() / 1000);

function first(payload, { with_ = secret, timestamp = seconds() } = {}) {
  return stripe.webhooks.generateTestHeaderString({ payload, secret: with_, timestamp });
}

async function second(method, path, payload, claims = {}) {
  const digest = createHash("sha256").update(payload).digest("base64url");
  return new SignJWT({ version: 1, htm: method, htu: base + path, digest, ...claims })
    .setProtectedHeader({ alg: "EdDSA", typ: "JWT", kid: "pk_1" })
    .setIssuedAt()
    .setExpirationTime("2m")
    .sign(pair.privateKey);
}

async function call(path, headers) {
  const answer = await fetch(base + path, { headers: { "api-version": "0.1d", ...headers } });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}

const wire = (...rest) => execFileSync(program, ["orchestrator", "wire", ...rest], { encoding: "utf8" });

async function refused(path, headers, why) {
  const { status, body } = await call(path, headers);
  assert.equal(status, 401, why);
  assert.equal(body.error.code, "invalid_signature", why);
}

let checks = 0;
async function check(name, work) {
  try {
    await work();
    checks += 1;
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exit(1);
  }
}

await check("the library that signs also believes what it signed", () => {
  stripe.webhooks.signature.verifyHeader("{}", first("{}"), secret);
});
for (const prefix of ["", "/api/agentic"]) {
  await check(`health and services, signed by stripe, under "${prefix}"`, async () => {
    const health = await call(`${prefix}/provisioning/health`, { "stripe-signature": first("") });
    assert.deepEqual(health.body, { supported_versions: ["0.1d"], status: "ok" });
    const services = await call(`${prefix}/provisioning/services`, { "stripe-signature": first("") });
    assert.equal(services.status, 200);
    assert.ok(services.body.data.length > 0);
    const catalog = new Uint8Array(await (await fetch(`${base}/catalog`)).arrayBuffer());
    const digest = "sha256:" + createHash("sha256").update(catalog).digest("hex");
    assert.equal(services.headers.get("portreeve-catalog-digest"), digest);
  });
}
await check("wrong, old, early and shifted signatures are refused", async () => {
  const path = "/provisioning/health";
  await refused(path, {}, "none");
  await refused(path, { "stripe-signature": first("", { with_: "whsec_other" }) }, "another secret");
  await refused(path, { "stripe-signature": first("", { timestamp: seconds() - 310 }) }, "old");
  await refused(path, { "stripe-signature": first("", { timestamp: seconds() + 310 }) }, "early");
  await refused(path, { "stripe-signature": first("{}") }, "another body");
});
await check("the second signature, made by jose, is demanded and believed", async () => {
  const path = "/provisioning/health";
  wire("set", "Stripe", "--signatures", "v2_required");
  await refused(path, { "stripe-signature": first("") }, "only the first");
  const good = await second("GET", path, "");
  const both = { "stripe-signature": first(""), "stripe-signature-v2": good };
  const { status, body } = await call(path, both);
  assert.equal(status, 200, JSON.stringify(body));
  assert.deepEqual(asked, ["Bearer token-for-the-public-keys"]);
  await refused("/provisioning/services", both, "another path");
  for (const [name, value] of [["htm", "POST"], ["version", 2], ["digest", "AAAA"], ["aud", "https://elsewhere.example"]]) {
    const bent = await second("GET", path, "", { [name]: value });
    await refused(path, { "stripe-signature": first(""), "stripe-signature-v2": bent }, name);
  }
  await refused(path, { "stripe-signature-v2": good }, "only the second");
});
await check("a new secret counts within seconds, the old one no longer after it is retired", async () => {
  wire("set", "Stripe", "--signatures", "hmac");
  const { id } = JSON.parse(readFileSync("secret.json", "utf8"));
  const next = JSON.parse(wire("secret", "add", "Stripe", "--json")).secret;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const path = "/provisioning/health";
  assert.equal((await call(path, { "stripe-signature": first("", { with_: next }) })).status, 200);
  wire("secret", "retire", "Stripe", id);
  await new Promise((resolve) => setTimeout(resolve, 5100));
  await refused(path, { "stripe-signature": first("") }, "retired");
  assert.equal((await call(path, { "stripe-signature": first("", { with_: next }) })).status, 200);
});
await check("an account and a free resource with three signed calls, and two notifications of them", async () => {
  const next = JSON.parse(wire("secret", "add", "Stripe", "--json")).secret;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const post = async (path, payload, type, headers = {}) => {
    const signature = first(payload, { with_: next });
    const sent = { "api-version": "0.1d", "content-type": type, "stripe-signature": signature, ...headers };
    const answer = await fetch(base + path, { method: "POST", body: payload, headers: sent });
    const body = await answer.json();
    assert.equal(answer.status, 200, `${path}: ${JSON.stringify(body)}`);
    return body;
  };
  const request = {
    id: "acctreq_1", object: "account_request", email: "dana@example.com", name: "Dana Ruiz", scopes: [],
    client_capabilities: ["browser"], confirmation_secret: "cs_1", expires_at: new Date(Date.now() + 600_000),
    orchestrator: { type: "stripe", stripe: { account: "acct_1AbC" } },
  };
  const asked = await post("/provisioning/account_requests", JSON.stringify(request), "application/json");
  assert.equal(asked.type, "oauth");
  const form = new URLSearchParams({ grant_type: "authorization_code", code: asked.oauth.code }).toString();
  const tokens = await post("/oauth/token", form, "application/x-www-form-urlencoded");
  const bearer = { authorization: `Bearer ${tokens.access_token}` };
  const wanted = JSON.stringify({ service_id: "sandbox", project_id: "proj_1", orchestrator_resource_id: "fres_1" });
  const made = await post("/provisioning/resources", wanted, "application/json", bearer);
  assert.equal(made.status, "complete");
  for (let tries = 0; heard.length < 2 && tries < 100; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const told = heard.map(({ headers, body }) => new Webhook(notificationSecret).verify(body, headers));
  assert.deepEqual(told.map((event) => event.type).sort(), ["account.opened", "resource.ready"]);
  assert.equal(told.find((event) => event.type === "resource.ready").data.resource.id, made.id);
});

console.log(JSON.stringify({ checks, notifications: heard.length }));
process.exit(0);
