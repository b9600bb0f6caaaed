#!/usr/bin/env bash
# make bench: every benchmark, one after the other, so that none disturbs another.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
scripts/venv.sh dev bench
for script in benchmarks/bench_*.py; do
    [ -e "$script" ] || fail "there is no benchmark yet"
    say "$script"
    .venv/bin/python "$script"
done
