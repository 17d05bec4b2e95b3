#!/usr/bin/env bash
# Drives the running demo's authorization server with unmodified npm `openid-client` and `oauth4webapi`.
set -euo pipefail
node openid-client.mjs "$PORTREEVE_DEMO_JSON"
node oauth4webapi.mjs "$PORTREEVE_DEMO_JSON"
