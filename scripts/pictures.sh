#!/usr/bin/env bash
# make pictures: docs/pictures and the outputs of docs/first-session.md, made anew by the program itself.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh dev
exec .venv/bin/python -m tests.pictures
