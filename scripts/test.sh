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
rm -f .coverage .coverage.*
exec .venv/bin/python -m pytest -n "${RCSOPS_TEST_WORKERS:-2}" --dist loadfile --smoke \
    --cov --cov-report=term:skip-covered "$@"
