#!/usr/bin/env bash
# Drives the running demo's authorization server with unmodified Python `Authlib`.
set -euo pipefail
exec "${PYTHON:-python3}" walk.py "$PORTREEVE_DEMO_JSON"
