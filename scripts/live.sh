#!/usr/bin/env bash
# live.sh [--resume] [RELEASE...]: make live. Every test against real peers, those that take minutes too:
# on each OpenSIPS of the machine with each database, then with the other peers. What came of it goes into
# docs/matrix.json and from there into docs/matrix.md, a release at a time, so that a run that was broken
# off keeps what it had. Rows of other releases stay as they are.
#   --resume   leaves out the releases that have rows of this commit without a failure
#   RELEASE    only these: 3.6.8, or "none" for what is not on one OpenSIPS alone
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
scripts/prerequisites.sh
scripts/venv.sh dev mysql
resume=() releases=()
for word in "$@"; do
    case $word in
    --resume) resume=(--resume) ;;
    *) releases+=("$word") ;;
    esac
done
if [ ${#releases[@]} -eq 0 ]; then
    mapfile -t releases < <(.venv/bin/python -m tests.live.matrix releases "${resume[@]}")
fi
status=0
for release in "${releases[@]}"; do
    say "live tests: $release"
    .venv/bin/python -m pytest tests/live -m "" -n "${RCSOPS_TEST_WORKERS:-2}" \
        --release "$release" --matrix docs/matrix.json || status=1
done
.venv/bin/python -m tests.live.matrix table
say "docs/matrix.md shows what came of it"
exit "$status"
