#!/usr/bin/env bash
# Drives a demo of its own with the unmodified authorization code of npm `@modelcontextprotocol/client` (2.x), with a human
# at a real Chromium. The demo trusts one more authority: the one behind this folder's own https server.
set -euo pipefail
TLS_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/portreeve-mcp.XXXXXX")
trap 'rm -rf "$TLS_FOLDER"' EXIT
bash tls.sh "$TLS_FOLDER"
export TLS_FOLDER
node walk.mjs
