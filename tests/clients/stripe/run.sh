#!/usr/bin/env bash
# Drives a provider of its own with unmodified npm `stripe` (the first signature), `jose` (the second) and
# `standardwebhooks` (what the provider signs).
set -euo pipefail
program=$(realpath "${PORTREEVE:-../../../target/release/portreeve}")
here=$PWD
folder=$(mktemp -d "${TMPDIR:-/tmp}/portreeve-stripe.XXXXXX")
serving=''
cleanup() {
    status=$?
    trap - EXIT
    if [[ -n $serving ]]; then
        kill -TERM "$serving" 2>/dev/null || true
        wait "$serving" 2>/dev/null || true
    fi
    [[ $status == 0 ]] || tail -n 40 "$folder/serve.log" 2>/dev/null || true
    rm -rf "$folder"
    exit "$status"
}
trap cleanup EXIT

free_port() {
    node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}
public=$(free_port) private=$(free_port) keys=$(free_port)
export PORTREEVE__SERVER__LISTEN="127.0.0.1:$public" PORTREEVE__SERVER__PRIVATE_LISTEN="127.0.0.1:$private"
export PORTREEVE__SERVER__DRAIN_SECONDS=0 PORTREEVE__OUTGOING__SPECIAL_HOSTS=127.0.0.1
export PORTREEVE__WIRE__PREFIXES=/api/agentic

cd "$folder"
"$program" init . >/dev/null
"$program" orchestrator add Stripe --issuer https://issuer.example --client-id acct_provider >/dev/null
printf 'token-for-the-public-keys' >keys-token
"$program" orchestrator wire set Stripe --signatures v2_advisory --public-keys-url "http://127.0.0.1:$keys/v2/provisioning/public_keys" \
    --public-keys-token-file keys-token --notification-url "http://127.0.0.1:$keys/notifications" --json >settings.json
"$program" --json orchestrator wire secret add Stripe >secret.json
"$program" serve >/dev/null 2>serve.log &
serving=$!
for _ in $(seq 100); do
    node -e "fetch('http://127.0.0.1:$private/readyz').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))" && break
    kill -0 "$serving" || exit 1
    sleep 0.1
done
node "$here/verify.mjs" "http://127.0.0.1:$public" "$keys" "$program"
