// Verifies a published catalog with the unmodified `jose` package.
//
//   node verify.mjs http://127.0.0.1:8080
//
// Exit 0: both signatures fit keys of the JWK set, and what was signed is what is served. Exit 1: anything else.
import { createHash } from "node:crypto";
import { createLocalJWKSet, decodeProtectedHeader, generalVerify } from "jose";

const base = process.argv[2]?.replace(/\/$/, "");
if (!base) {
  console.error("usage: node verify.mjs URL");
  process.exit(2);
}

async function get(path) {
  const answer = await fetch(base + path);
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

const json = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

try {
  const [jws, served, jwks] = await Promise.all(["/catalog.jws", "/catalog", "/oauth/jwks"].map(get));
  const keys = createLocalJWKSet(json(jwks));
  const { payload, signatures } = json(jws);
  const algorithms = signatures.map((signature) => decodeProtectedHeader(signature).alg);
  if (algorithms.join(" ") !== "ES256 EdDSA") throw new Error(`signed with ${algorithms.join(" ")}`);
  for (const signature of signatures) {
    // One at a time: generalVerify is content with one signature that fits, and both have to.
    const verified = await generalVerify({ payload, signatures: [signature] }, keys, {
      algorithms: ["ES256", "EdDSA"],
    });
    if (verified.protectedHeader.typ !== "catalog+jws") throw new Error(`typ is ${verified.protectedHeader.typ}`);
    if (Buffer.compare(verified.payload, served) !== 0) throw new Error("/catalog is not what was signed");
  }
  const document = json(served);
  if (document.iss !== base) throw new Error(`iss is ${document.iss}`);
  if (!(new Date(document.expires_at) > new Date())) throw new Error(`expired at ${document.expires_at}`);
  const digest = "sha256:" + createHash("sha256").update(served).digest("hex");
  console.log(JSON.stringify({ version: document.version, digest, algorithms }));
} catch (error) {
  console.error(`not verified: ${error.message}`);
  process.exit(1);
}
