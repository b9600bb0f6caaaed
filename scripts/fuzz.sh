#!/usr/bin/env bash
# fuzz.sh [SECONDS] [ORACLE...]: make fuzz. Every parser of what comes from the network under atheris, a
# fuzzer that follows the coverage, for SECONDS in all. What is found becomes a test: tests/corpus/found.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh dev fuzz
. scripts/lib.sh
seconds=60
if [ $# -gt 0 ]; then
    seconds=$1
    shift
fi
say "fuzzing for $seconds s"
exec .venv/bin/python -m tests.fuzz --seconds "$seconds" "$@"
