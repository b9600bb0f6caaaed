#!/usr/bin/env bash
# venv.sh [EXTRA...]: makes .venv with rcsops in it (editable), and the extras asked for.
# A second run does nothing as long as pyproject.toml has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
APT_LOG=$(mktemp)
pip_log=$(mktemp)
trap 'rm -f "$APT_LOG" "$pip_log"' EXIT

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 /usr/bin/python3.11 /usr/bin/python3; do
        # Run it: a shim on the PATH may stand for a Python that is not there.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    return 1
}

python=$(find_python) || fail "Python 3.11 or newer is needed; set PYTHON to name one"

usable() {
    # The scripts in a virtual environment name the place where it was made: a moved tree needs a new one.
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        .venv/bin/python -m pip --version >/dev/null 2>&1 &&
        grep -qs "^command = .*$(pwd -P)/\.venv$" .venv/pyvenv.cfg
}

if ! usable; then
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if apt_may; then
            say "installing python$version-venv"
            apt_install "python$version-venv" python3-venv || true
        fi
        "$python" -c 'import venv, ensurepip' 2>/dev/null ||
            fail "this Python has no venv; type: $(apt_line "python$version-venv")"
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

install() { # install STAMP REQUIREMENT
    local stamp=.venv/.installed-$1
    if [ "$stamp" -nt pyproject.toml ]; then
        return 0
    fi
    say "installing $2 into .venv"
    if ! .venv/bin/python -m pip install -q -e "$2" >"$pip_log" 2>&1; then
        tail -n 15 "$pip_log" >&2
        return 1
    fi
    touch "$stamp"
}

install base . || fail "rcsops could not be installed"
for extra in "$@"; do
    case $extra in
    # A module in C: where it does not build, rcsops works with SQLite, and the tests say what they skip.
    mysql) install mysql '.[mysql]' || say "mysqlclient was not installed: MySQL is left out" ;;
    *) install "$extra" ".[$extra]" || fail "the extra [$extra] could not be installed" ;;
    esac
done
