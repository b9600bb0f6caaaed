#!/usr/bin/env bash
# make check: lint, types and layers.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
scripts/venv.sh dev
say "lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
say "types"
.venv/bin/mypy --strict rcsops benchmarks
say "layers"
.venv/bin/lint-imports
