#!/usr/bin/env bash
# make clean: removes what the other targets have made, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf .venv build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
    .import_linter_cache .hypothesis
find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
