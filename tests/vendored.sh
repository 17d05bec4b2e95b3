#!/usr/bin/env bash
# The vendored files are what their authors published: fetches each package by name and version, and compares bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/portreeve-vendored.XXXXXX")
trap 'rm -rf "$work"' EXIT

# vendored PACKAGE VERSION THEIRS OURS [THEIRS OURS]…
vendored() {
    local package=$1 version=$2 archive
    shift 2
    archive=$(npm pack "$package@$version" --ignore-scripts --silent --pack-destination "$work")
    tar -xzf "$work/$archive" -C "$work"
    while [[ $# -gt 0 ]]; do
        cmp "$work/package/$1" "$2"
        echo "$2 is $1 of $package $version"
        shift 2
    done
    rm -rf "$work/package"
}

vendored htmx.org 4.0.1 \
    dist/htmx.min.js src/http/assets/files/htmx-4.0.1.min.js \
    LICENSE src/http/assets/htmx.LICENSE
