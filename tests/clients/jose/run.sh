#!/usr/bin/env bash
# Verifies the running demo's catalog with unmodified npm `jose`.
set -euo pipefail
url=$(node -e 'console.log(JSON.parse(require("fs").readFileSync(process.env.PORTREEVE_DEMO_JSON, "utf8")).base_url)')
exec node verify.mjs "$url"
