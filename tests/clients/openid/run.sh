#!/usr/bin/env bash
# Drives the running demo's authorization server with unmodified npm `openid-client` and `oauth4webapi`, and with a human at a
# real Chromium; and a demo of its own, where programs without a browser may wait.
set -euo pipefail
node openid-client.mjs "$PORTREEVE_DEMO_JSON"
node oauth4webapi.mjs "$PORTREEVE_DEMO_JSON"
node chromium.mjs "$PORTREEVE_DEMO_JSON"
node device.mjs
