// An enterprise's identity provider, as far as cross-app access needs one: exchanges ID tokens for ID-JAGs (RFC 8693).
import { createServer } from "node:http";
import { SignJWT, exportJWK, generateKeyPair, jwtVerify } from "jose";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_JAG = "urn:ietf:params:oauth:token-type:id-jag";

/** `clients` says under which id each audience knows the client. */
export async function identityProvider({ email, audienceClient }) {
  const keys = await generateKeyPair("ES256");
  const jwk = { ...(await exportJWK(keys.publicKey)), kid: "idp-1", alg: "ES256", use: "sig" };
  const sign = (typ, claims) => new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "idp-1", typ }).setIssuedAt().sign(keys.privateKey);
  let issuer;
  const exchanged = [];

  async function exchange(form) {
    const wanted = Object.fromEntries(form);
    if (wanted.grant_type !== EXCHANGE || wanted.requested_token_type !== ID_JAG || wanted.client_secret !== "idp-secret") {
      return [400, { error: "invalid_request" }];
    }
    const { payload } = await jwtVerify(wanted.subject_token, keys.publicKey, { issuer, audience: wanted.client_id });
    exchanged.push(wanted);
    const at = Math.floor(Date.now() / 1000);
    const access_token = await sign("oauth-id-jag+jwt", {
      iss: issuer, sub: payload.sub, aud: wanted.audience, client_id: audienceClient(), resource: wanted.resource,
      scope: wanted.scope, jti: crypto.randomUUID(), exp: at + 300, email, email_verified: true, auth_time: at,
    });
    return [200, { access_token, issued_token_type: ID_JAG, token_type: "N_A", expires_in: 300 }];
  }

  const documents = {
    "/.well-known/openid-configuration": () => ({
      issuer, jwks_uri: `${issuer}/jwks`, token_endpoint: `${issuer}/token`, authorization_endpoint: `${issuer}/authorize`,
      response_types_supported: ["code"], subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["ES256"],
    }),
    "/jwks": () => ({ keys: [jwk] }),
  };
  const server = createServer(async (request, answer) => {
    let body = "";
    for await (const piece of request) body += piece;
    const { pathname } = new URL(request.url, issuer);
    const [status, said] = pathname === "/token" ? await exchange(new URLSearchParams(body))
      : documents[pathname] ? [200, documents[pathname]()] : [404, { error: "not_found" }];
    answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(said));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  issuer = `http://127.0.0.1:${server.address().port}`;
  const idToken = (sub, audience) => sign("JWT", { iss: issuer, sub, aud: audience, exp: Math.floor(Date.now() / 1000) + 300 });
  return { issuer, idToken, exchanged, close: () => server.close() };
}
