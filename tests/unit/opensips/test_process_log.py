"""Which line of OpenSIPS's log says why it did not start."""

import pytest

from rcsops.opensips.log import find_cause, said

HEAD = "Nov 24 00:34:19 [4674] "
DATABASE = f"""{HEAD}NOTICE:core:main: version: opensips 3.6.8 (x86_64/linux)
{HEAD}ERROR:db_mysql:db_mysql_connect: driver error(2002): Can't connect to server
{HEAD}ERROR:db_mysql:db_mysql_new_connection: initial connect failed
{HEAD}ERROR:core:init_mod: failed to initialize module usrloc
{HEAD}ERROR:core:main: error while initializing modules
{HEAD}NOTICE:core:main: Exiting....
"""


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        (DATABASE, "db_mysql: driver error(2002): Can't connect to server", "start the database"),
        (
            f"{HEAD}ERROR:core:db_check_table_version: invalid version 7 for table subscriber found"
            f", expected 8\n{HEAD}ERROR:core:init_mod: failed to initialize module auth_db\n",
            "invalid version 7 for table subscriber found, expected 8",
            "rcsops db migrate",
        ),
        (
            f"{HEAD}ERROR:core:load_module: failed to load module 'x' - not found\n"
            f"{HEAD}CRITICAL:core:yyerror: parse error in /a/b.cfg:3:1-2: failed to load module\n",
            "failed to load module 'x' - not found",
            "rcsops install",
        ),
        (
            f"{HEAD}ERROR:core:fix_actions: called route [X] (id=4) is not defined\n"
            f"{HEAD}ERROR:core:main: fixing failed (code=-6) at /a/b.cfg:9\n",
            "called route [X] (id=4) is not defined",
            "rcsops config check",
        ),
        (
            f"{HEAD}ERROR:core:tcp_init_listener: bind(8, 0x7f, 16) on 127.0.0.1:5060 : "
            f"Address already in use\n",
            "bind(8, 0x7f, 16) on 127.0.0.1:5060 : Address already in use",
            "another program has that port",
        ),
        ("Segmentation fault\n\n", "Segmentation fault", ""),
        ("", "", ""),
    ],
)
def test_the_line_that_tells(text: str, cause: str, hint: str) -> None:
    found = find_cause(text)
    assert found.text == cause
    assert hint in found.hint
    assert bool(found.hint) == bool(hint)


def test_only_errors_are_told() -> None:
    assert said(f"{HEAD}WARNING:core:init: something") == ""
    assert said("no log at all") == ""
    assert said(f"{HEAD}CRITICAL: parse error") == "parse error"
