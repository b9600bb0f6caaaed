#!/usr/bin/env bash
# make live: only the tests against real peers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/prerequisites.sh
scripts/venv.sh dev mysql
exec .venv/bin/python -m pytest tests/live -m "" "$@"
