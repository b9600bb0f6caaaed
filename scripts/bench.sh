#!/usr/bin/env bash
# make bench: every benchmark, one after the other, so that none disturbs another; at the end, those that
# missed their goal. Those on OpenSIPS need one: RCSOPS_TEST_OPENSIPS names its prefix.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
scripts/venv.sh dev mysql bench
missed=()
for script in benchmarks/*.py; do
    [ -e "$script" ] || fail "there is no benchmark yet"
    case $script in benchmarks/_*) continue ;; esac
    say "$script"
    .venv/bin/python "$script" || missed+=("$script")
done
[ ${#missed[@]} -eq 0 ] || fail "goals missed by ${missed[*]}"
