#!/usr/bin/env bash
# tls.sh FOLDER: an authority of the test's own (ca.pem), and a key and certificate of it for localhost (host.key, host.pem).
set -euo pipefail
cd "$1"
log=openssl.log
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
printf 'subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n' >host.ext
{
    openssl req -x509 "${key[@]}" -days 2 -subj '/CN=Test authority' -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE &&
        openssl req "${key[@]}" -subj /CN=localhost -keyout host.key -out host.csr &&
        openssl x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile host.ext -out host.pem
} >"$log" 2>&1 || { cat "$log"; exit 1; }
