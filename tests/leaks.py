"""After the whole demo at trace level, no secret that was issued stands in the logs or in the database's files.

Looks for the secrets that the demo's `ready` line names, for the instance's own keys, and for everything that has the
form of a secret of ours or of a signed token.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

FORMS = {
    "a signed token": rb"eyJ[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}",
    "an API key": rb"\bwx_res_[0-9a-z]{26}\.[\w-]{40,}",
    "a log-in link": rb"\bdl_[\w-]{43}",
    "a session": rb"\bses_[\w-]{43}",
    "a meter key": rb"\bmeter_[\w-]{43}",
}


def run(folder):
    command = ["target/release/portreeve", "demo", "--listen", "127.0.0.1:0", "--json", "--keep", folder]
    environment = dict(os.environ, PORTREEVE__LOG__LEVEL="trace")
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as demo:
            lines = (json.loads(line) for line in demo.stdout if line.startswith(b"{"))
            ready = next((line for line in lines if line.get("event") == "ready"), None)
            demo.terminate()
            demo.wait(timeout=60)
            assert ready and ready["ok"], "the demo was not as expected"
        log.seek(0)
        return ready, log.read()


def main():
    with tempfile.TemporaryDirectory() as folder:
        ready, log = run(folder)
        files = {os.path.basename(path): open(path, "rb").read() for path in glob.glob(f"{folder}/demo.db*")}
        keys = {name: open(f"{folder}/{name}").read().strip() for name in ("portreeve.key", "meter.key")}
    places = {"the log": log, **files}
    secrets = {
        "the access token": ready["access_token"],
        "the payment token": ready["purchase"]["payment_token"],
        "the dashboard link": ready["dashboard_url"].rsplit("/", 1)[1],
        **keys,
    }
    # A search that looks in the wrong place finds nothing.
    assert b'"TRACE"' in log and b'"request.id"' in log, "the log is not at trace level"
    assert b"acct_" in b"".join(files.values()), "the database's files hold no account"
    found = [f"{name} is in {place}" for name, secret in secrets.items() for place, text in places.items()
             if secret.encode() in text]
    found += [f"{name} is in {place}: {match.group()[:24]!r}…" for name, form in FORMS.items()
              for place, text in places.items() for match in re.finditer(form, text)]
    for line in found:
        print(line)
    print(f"{len(secrets)} secrets and {len(FORMS)} forms looked for in {len(places)} places: {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
