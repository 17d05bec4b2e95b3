#!/usr/bin/env bash
# Drives a demo of its own with the unmodified authorization code of npm `@modelcontextprotocol/client` (2.x), with a human
# at a real Chromium. The demo trusts one more authority: the one behind this folder's own https server.
set -euo pipefail
folder=$(mktemp -d "${TMPDIR:-/tmp}/portreeve-mcp.XXXXXX")
trap 'rm -rf "$folder"' EXIT
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Test authority" \
        -keyout "$folder/ca.key" -out "$folder/ca.pem" -addext basicConstraints=critical,CA:TRUE
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout "$folder/host.key" -out "$folder/host.csr"
    printf 'subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n' >"$folder/host.ext"
    openssl x509 -req -in "$folder/host.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
        -extfile "$folder/host.ext" -out "$folder/host.pem"
} >"$folder/openssl.log" 2>&1 || { cat "$folder/openssl.log"; exit 1; }
TLS_FOLDER=$folder node walk.mjs
