#!/usr/bin/env bash
# make soak: a thousand agents for ten minutes; RCSOPS_SOAK_SECONDS, _AGENTS and _RATE change that.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh dev
exec .venv/bin/python -m pytest tests/soak -m soak -s "$@"
