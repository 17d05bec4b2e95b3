// A demo of one's own, and its operator's commands.
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = process.env.PORTREEVE ?? fileURLToPath(new URL("../../../target/release/portreeve", import.meta.url));

/** Starts it with more settings; ends with this process. */
export async function start(more) {
  const env = { ...process.env, PORTREEVE__LIMITS__EMAIL_LOG_INS_PER_HOUR: "0", ...more };
  const running = spawn(program, ["demo", "--listen", "127.0.0.1:0", "--json"], { env, stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => running.kill("SIGINT"));
  for await (const line of createInterface({ input: running.stdout })) {
    const told = JSON.parse(line);
    if (told.event === "ready") return { ...told, stop: () => stop(running) };
  }
  throw new Error("the demo did not come up");
}

function stop(running) {
  const ended = new Promise((done) => running.once("exit", done));
  running.kill("SIGINT");
  return ended;
}

/** The operator, beside the running demo: what a command says in JSON. */
export function operator(demo, ...words) {
  const settings = {
    PORTREEVE__DATABASE__URL: `sqlite:${join(demo.folder, "demo.db")}`,
    PORTREEVE__KEYS__MASTER_KEY_FILE: join(demo.folder, "portreeve.key"),
    PORTREEVE__USAGE__METER_KEY_FILE: join(demo.folder, "meter.key"),
    PORTREEVE__CATALOG__FOLDER: join(demo.folder, "catalog"),
  };
  return JSON.parse(execFileSync(program, ["--json", ...words], { env: { ...process.env, ...settings }, encoding: "utf8" }));
}
