#!/usr/bin/env bash
# prerequisites.sh: the real peers that the tests talk to, installed by apt where we may; then a list of
# what is there and of what is missing, with what is skipped for it. Never fails: the tests skip instead.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
APT_LOG=$(mktemp)
trap 'rm -f "$APT_LOG"' EXIT
PATH=$PATH:/usr/sbin:/sbin

has() { # has WHAT: a command, or a file given with its pattern
    case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# what shows that it is there | its Debian package | what the tests want it for
peers='
mariadbd|mariadb-server|the database on a real MariaDB
kamailio|kamailio|agents through another SIP server
/usr/lib/*/kamailio/modules/db_sqlite.so|kamailio-sqlite-modules|accounts for Kamailio
/usr/lib/*/kamailio/modules/tls.so|kamailio-tls-modules|agents through Kamailio over TLS
/usr/lib/*/kamailio/modules/websocket.so|kamailio-websocket-modules|agents through Kamailio over WebSocket
sipp|sip-tester|registrations and calls from sipp
tshark|tshark|a second opinion on every message on the wire
tmux|tmux|the chat in a real terminal
chromium|chromium|the page of a ladder in a browser (make live)
ip|iproute2|agents behind a NAT
nft|nftables|agents behind a NAT
/usr/lib/*/faketime/libfaketime.so.1|faketime|a server whose clock is set back
gcc|gcc|building mysqlclient
pkg-config|pkg-config|building mysqlclient
/usr/include/*/Python.h|python3-dev|building mysqlclient
/usr/include/*/mysql.h|default-libmysqlclient-dev|building mysqlclient
'

missing=()
while IFS='|' read -r what package _; do
    [ -n "$what" ] && ! has "$what" && missing+=("$package")
done <<<"$peers"

if [ ${#missing[@]} -gt 0 ]; then
    if apt_may; then
        say "installing ${missing[*]}"
        apt_install "${missing[@]}" || say "not all of them could be installed"
    else
        say "may not install packages here (neither root nor sudo without a password, or no apt-get)"
    fi
fi

still=()
say "real peers for the tests"
while IFS='|' read -r what package purpose; do
    [ -n "$what" ] || continue
    if has "$what"; then
        printf '   %-28s there    %s\n' "$package" "$purpose"
    else
        printf '   %-28s MISSING  skipped: %s\n' "$package" "$purpose"
        still+=("$package")
    fi
done <<<"$peers"
if [ ${#still[@]} -gt 0 ]; then
    printf '   to run what is skipped: %s\n' "$(apt_line "${still[@]}")"
fi
exit 0
