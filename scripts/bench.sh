#!/usr/bin/env bash
# make bench: every benchmark, one after the other, so that none disturbs another.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
scripts/venv.sh dev bench
for script in benchmarks/*.py; do
    [ -e "$script" ] || fail "there is no benchmark yet"
    case $script in benchmarks/_*) continue ;; esac
    say "$script"
    .venv/bin/python "$script"
done
