// A client's metadata document on an https server of this computer, whose authority the demo trusts.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";

export const tls = (name) => join(process.env.TLS_FOLDER, name);

/** Serves `metadata` with its own address as `client_id`. */
export async function documented(metadata) {
  const files = { key: readFileSync(tls("host.key")), cert: readFileSync(tls("host.pem")) };
  let url;
  const host = createServer(files, (_request, answer) => {
    answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ ...metadata, client_id: url }));
  });
  await new Promise((done) => host.listen(0, "127.0.0.1", done));
  url = `https://localhost:${host.address().port}/client.json`;
  return { url, close: () => host.close() };
}
