// An OpenID provider on loopback that lets one person in at once: for log-ins without a human.
import { createHash, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";

const encoded = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** Starts; `person` is `{ sub, email }` and may be changed. */
export async function startIssuer(person) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = { ...publicKey.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: "one" };
  const nonces = new Map();
  let url;
  const signed = (claims) => {
    const message = `${encoded({ alg: "ES256", typ: "JWT", kid: "one" })}.${encoded(claims)}`;
    const signature = createSign("SHA256").update(message).sign({ key: privateKey, dsaEncoding: "ieee-p1363" });
    return `${message}.${signature.toString("base64url")}`;
  };
  const pages = {
    "/.well-known/openid-configuration": () => ({
      issuer: url, authorization_endpoint: `${url}/authorize`, token_endpoint: `${url}/token`, jwks_uri: `${url}/jwks`,
      response_types_supported: ["code"], subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["ES256"],
    }),
    "/jwks": () => ({ keys: [jwk] }),
    "/token": (_, form) => {
      const { nonce, challenge } = nonces.get(form.get("code"));
      const verifier = createHash("sha256").update(form.get("code_verifier")).digest("base64url");
      if (verifier !== challenge) throw new Error("PKCE");
      const now = Math.floor(Date.now() / 1000);
      const id_token = signed({
        iss: url, aud: "desk", iat: now, exp: now + 300, auth_time: now, nonce, email_verified: true, ...person,
      });
      return { access_token: "opaque", token_type: "Bearer", id_token };
    },
  };
  const server = createServer((request, answer) => {
    const at = new URL(request.url, url);
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      if (at.pathname === "/authorize") {
        const code = randomUUID();
        nonces.set(code, { nonce: at.searchParams.get("nonce"), challenge: at.searchParams.get("code_challenge") });
        const back = new URL(at.searchParams.get("redirect_uri"));
        back.searchParams.set("code", code);
        back.searchParams.set("state", at.searchParams.get("state"));
        return answer.writeHead(302, { location: back.href }).end();
      }
      const page = pages[at.pathname];
      answer.writeHead(page ? 200 : 404, { "content-type": "application/json" });
      return answer.end(JSON.stringify(page ? page(at, new URLSearchParams(body)) : {}));
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  url = `http://127.0.0.1:${server.address().port}`;
  return { url, close: () => server.close() };
}
