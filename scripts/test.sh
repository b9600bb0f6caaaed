#!/usr/bin/env bash
# make test: what is missing, then lint, types, layers, and all tests with a coverage report.
# On an OpenSIPS of the machine it runs a smoke of two minutes at most; make live runs the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/prerequisites.sh
scripts/venv.sh dev mysql
scripts/check.sh
. scripts/lib.sh
say "tests"
rm -f .coverage .coverage.* .pytest_cache/v/cache/lastfailed
status=0
.venv/bin/python -m pytest -n "${RCSOPS_TEST_WORKERS:-2}" --dist loadfile --smoke \
    --cov --cov-report=term:skip-covered "$@" || status=$?
# 1 is pytest's word for tests that failed. A few are tried once more, one after the other: what fails
# again is wrong, what passes now is unsteady, and is named as that.
few=5
if [ "$status" -eq 1 ]; then
    failed=$(.venv/bin/python -c 'import json; print(*json.load(open(".pytest_cache/v/cache/lastfailed")), sep="\n")')
    if [ "$(wc -l <<<"$failed")" -le "$few" ]; then
        say "once more, one after the other: what failed"
        status=0
        .venv/bin/python -m pytest -n 0 --smoke --last-failed --last-failed-no-failures none "$@" || status=$?
        [ "$status" -ne 0 ] || say "UNSTEADY: failed beside others and passed alone:" "$failed"
    fi
fi
exit "$status"
