"""``rcsops certs`` as a person types it, and what the other commands make of it."""

import json

from rcsops.testing import free_port
from tests.cli.conftest import Shell


def test_they_are_made_shown_and_kept(rcsops: Shell) -> None:
    rcsops.ok("init", "--yes", "--domain", "lab.example")
    done = rcsops.ok("certs", "--client", "alice")
    assert "server.pem (made)" in done.out
    assert "sip:lab.example" in done.out
    assert "SHA-256" in done.out
    assert "PRIVATE" not in done.out
    again = rcsops.ok("certs", "--json").json
    assert again["changed"] is False
    assert [each["role"] for each in again["certificates"]] == ["authority", "server", "client"]
    assert all(each["done"] == "kept" for each in again["certificates"])
    server = again["certificates"][1]
    assert server["days_left"] in (396, 397)
    assert server["not_after"].endswith("+00:00")
    assert len(server["fingerprint"].split(":")) == 32


def test_a_new_authority_is_a_question(rcsops: Shell) -> None:
    rcsops.ok("init", "--yes")
    rcsops.ok("certs", "--renew-authority")
    refused = rcsops("certs", "--renew-authority")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert rcsops.ok("certs", "--json").json["changed"] is False
    assert rcsops.ok("certs", "--renew-authority", "--yes", "--json").json["changed"] is True


def test_a_server_without_a_certificate_says_what_to_type(rcsops: Shell) -> None:
    port = free_port()
    done = rcsops.ok("init", "--yes", "--listen", f"tls:127.0.0.1:{port}")
    assert "rcsops certs" in done.out
    rcsops.ok("db", "create")
    refused = rcsops("start")
    assert refused.code == 1
    assert f"cannot listen at tls:127.0.0.1:{port}: there is no certificate" in refused.err
    assert "hint: make one for a lab: rcsops certs" in refused.err
    rcsops.ok("certs")
    try:
        started = json.loads(rcsops.ok("start", "--json").out)
        assert started["listeners"] == [f"tls:127.0.0.1:{port}"]
        status = rcsops.ok("status").out
        assert f"tls:127.0.0.1:{port}" in status
        assert "server.pem, until " in status
        assert " days left" in status
        told = rcsops.ok("status", "--json").json["certificate"]
        assert told["path"].endswith("server.pem")
        assert told["days_left"] in (396, 397)
        # It is renewed under the server's feet, for a few days only.
        rcsops.ok("certs", "--renew", "--days", "5")
        hurry = rcsops.ok("status")
        assert "4 days left" in hurry.out or "5 days left" in hurry.out
        assert "rcsops certs; then rcsops restart" in hurry.err
    finally:
        rcsops("stop")
