#!/usr/bin/env bash
# make demo: from nothing but Python to two users who chat.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh
exec .venv/bin/rcsops demo "$@"
