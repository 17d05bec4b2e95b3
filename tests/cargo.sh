#!/usr/bin/env bash
# Every test that cargo knows. A few that failed among all of them are run once more, alone: a machine that stood still
# for seconds is no fault of the product. Nothing is hidden: what failed is shown with its reason, and named.
#
#   tests/cargo.sh              a test that fails among all and passes alone is told, and counts as passed
#   tests/cargo.sh --strict     it counts as failed
#
# The last lines: `unsteady: NAME` for each of those.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly MOST=4 # More than these are no accident.
log=$(mktemp "${TMPDIR:-/tmp}/portreeve-cargo.XXXXXX")
trap 'rm -f "$log"' EXIT

if cargo test --release --locked --lib --bins --tests --no-fail-fast >"$log" 2>&1; then
    grep -E '^test (result|.* ignored)' "$log"
    exit 0
fi
mapfile -t failed < <(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$log")
grep -E '^test result' "$log" || true
if grep -q '^failures:$' "$log"; then
    sed -n '/^failures:$/,/^test result/p' "$log" | head -c 40000
else
    tail -n 200 "$log"
fi
if [[ ${1:-} == --strict || ${#failed[@]} == 0 || ${#failed[@]} -gt $MOST ]]; then
    exit 1
fi
# A test binary that ended by a signal names nothing; its other tests did not run.
if grep -q '(signal: ' "$log"; then
    exit 1
fi
echo "----  alone: ${failed[*]}"
cargo test --release --locked --lib --bins --tests --no-fail-fast -- --exact --test-threads=1 "${failed[@]}" >"$log" 2>&1 ||
    { sed -n '/^failures:$/,/^test result/p' "$log"; exit 1; }
for name in "${failed[@]}"; do
    # The second run has to have run it.
    grep -qxF "test $name ... ok" "$log" || { echo "not run again: $name"; exit 1; }
    echo "unsteady: $name"
done
