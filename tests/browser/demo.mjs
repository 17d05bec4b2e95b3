// A demo of one's own, and its operator's commands.
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const beside = (path) => fileURLToPath(new URL(path, import.meta.url));
const program = process.env.PORTREEVE ?? beside("../../target/release/portreeve");
const often = { PORTREEVE__LIMITS__EMAIL_LOG_INS_PER_HOUR: "0", PORTREEVE__LIMITS__ADDRESS_LOG_INS_PER_HOUR: "0" };

/**
 * Starts one with more settings; it ends with this process. Its persons have claimed their accounts, unless `claimed` is
 * false. `localhost`: its address is a name, as passkeys want it.
 */
export async function start(settings = {}, { claimed = true, localhost = false } = {}) {
  const words = ["demo", "--listen", "127.0.0.1:0", "--json", ...(localhost ? ["--localhost"] : [])];
  const running = spawn(program, words, { env: { ...process.env, ...often, ...settings }, stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => running.kill("SIGINT"));
  for await (const line of createInterface({ input: running.stdout })) {
    const told = JSON.parse(line);
    if (told.event !== "ready") continue;
    if (claimed) execFileSync("python3", [beside("../claimed.py"), told.folder]);
    return { ...told, stop: () => stop(running) };
  }
  throw new Error("the demo did not come up");
}

function stop(running) {
  const ended = new Promise((done) => running.once("exit", done));
  running.kill("SIGINT");
  return ended;
}

/** The operator, beside the running demo: what a command says. */
export function said(demo, ...words) {
  const settings = {
    PORTREEVE__DATABASE__URL: `sqlite:${join(demo.folder, "demo.db")}`,
    PORTREEVE__KEYS__MASTER_KEY_FILE: join(demo.folder, "portreeve.key"),
    PORTREEVE__USAGE__METER_KEY_FILE: join(demo.folder, "meter.key"),
    PORTREEVE__CATALOG__FOLDER: join(demo.folder, "catalog"),
  };
  return execFileSync(program, words, { env: { ...process.env, ...settings }, encoding: "utf8" });
}

/** The same in JSON. */
export const operator = (demo, ...words) => JSON.parse(said(demo, "--json", ...words));
