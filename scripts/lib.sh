# Sourced by the other scripts: messages, and Debian packages where we may install them.

say() { printf '%s\n' "== $*"; }
fail() { printf '%s\n' "error: $*" >&2; exit 1; }

# Prints how to become root here ("" when we are root already); fails when there is no way.
# A password is asked for only where a person can type it.
root_prefix() {
    if [ "$(id -u)" -eq 0 ]; then
        return 0
    fi
    command -v sudo >/dev/null 2>&1 || return 1
    if sudo -n true 2>/dev/null; then
        printf 'sudo -n'
    elif [ -t 0 ] && [ -z "${CI:-}" ]; then
        printf 'sudo'
    else
        return 1
    fi
}

apt_may() { command -v apt-get >/dev/null 2>&1 && root_prefix >/dev/null; }

apt_line() { printf 'sudo apt-get install -y --no-install-recommends %s' "$*"; }

# apt_install PACKAGE...: installs them without questions and without starting their services:
# a Kamailio that took port 5060, or a MariaDB that needs systemd, is not what anybody asked for.
# Names that this release of the distribution does not know are left out.
apt_install() {
    local prefix known=() package policy=/usr/sbin/policy-rc.d ours=no status=0 fresh=() unit
    prefix=$(root_prefix) || return 1
    local apt="$prefix env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q"
    # Package lists may never have been fetched here, which is usual in containers.
    # shellcheck disable=SC2086
    if ! apt-cache show "$1" >/dev/null 2>&1 || [ -n "${APT_UPDATE:-}" ]; then
        $apt update >/dev/null || say "apt-get update failed; trying with the lists that are here"
    fi
    for package in "$@"; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            known+=("$package")
        else
            say "no package named $package here"
        fi
    done
    [ ${#known[@]} -gt 0 ] || return 1
    for unit in kamailio mariadb; do
        systemctl cat "$unit" >/dev/null 2>&1 || fresh+=("$unit")
    done
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $prefix tee "$policy" >/dev/null && $prefix chmod 755 "$policy"
        ours=yes
    fi
    # shellcheck disable=SC2086
    if ! $apt install -y --no-install-recommends "${known[@]}" </dev/null >"$APT_LOG" 2>&1; then
        $apt update >/dev/null 2>&1 || true
        if ! $apt install -y --no-install-recommends "${known[@]}" </dev/null >"$APT_LOG" 2>&1; then
            status=1
            tail -n 5 "$APT_LOG" >&2
            for package in "${known[@]}"; do
                $apt install -y --no-install-recommends "$package" </dev/null >>"$APT_LOG" 2>&1 || true
            done
        fi
    fi
    if [ "$ours" = yes ]; then
        $prefix rm -f "$policy"
    fi
    if [ -d /run/systemd/system ]; then
        for unit in "${fresh[@]}"; do
            if systemctl cat "$unit" >/dev/null 2>&1; then
                $prefix systemctl disable "$unit" >/dev/null 2>&1 || true
            fi
        done
    fi
    return "$status"
}
