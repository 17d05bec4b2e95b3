#!/usr/bin/env bash
# Drives the running demo with the unmodified authorization code of npm `@modelcontextprotocol/sdk`.
set -euo pipefail
exec node authorize.mjs "$PORTREEVE_DEMO_JSON"
