"""Lines as make, gcc and ld print them (Debian 12), and what is made of them."""

import pytest

from rcsops.opensips.diagnosis import diagnose
from rcsops.opensips.releases import resolve_release

OLD, NEW = resolve_release("3.0.2"), resolve_release("3.6.8")

MYSQL = """\
cc -g -DMOD_NAME='db_mysql' -c dbase.c -o dbase.o
dbase.c: In function 'x':
dbase.c:10:2: warning: 'y' may be used uninitialized [-Wmaybe-uninitialized]
In file included from dbase.c:33:
db_con.h:33:10: fatal error: mysql.h: No such file or directory
   33 | #include <mysql.h>
compilation terminated.
make[2]: *** [../../Makefile.rules:27: dbase.o] Error 1
ERROR: Building db_mysql module failed!
make[1]: *** [Makefile:184: modules/db_mysql] Error 1
Building one or more modules failed!
make: *** [Makefile:207: modules] Error 2
"""


def test_a_missing_header_leads_to_its_package() -> None:
    found = diagnose(MYSQL, OLD, ("db_mysql", "tm"))
    assert found.error == "db_con.h:33:10: fatal error: mysql.h: No such file or directory"
    assert "default-libmysqlclient-dev" in found.cause
    assert "apt-get install" in found.mend
    assert "default-libmysqlclient-dev" in found.mend


def test_a_header_that_nobody_knows() -> None:
    log = "x.c:1:10: fatal error: sctp/odd.h: No such file or directory\n"
    found = diagnose(log, NEW, ("tm",))
    assert "apt-file search sctp/odd.h" in found.mend


@pytest.mark.parametrize(
    ("line", "cause", "mend"),
    [
        (
            "/usr/bin/ld: net/net_tcp.o:(.bss+0x18): multiple definition of `tcp_timeout_send'; "
            "main.o:(.bss+0x1d8): first defined here",
            "-fcommon",
            "CC_EXTRA_OPTS",
        ),
        ("/usr/bin/ld: cannot find -lmysqlclient: No such file or directory", "mysqlclient", "dev"),
        ("/usr/bin/ld: main.o: file not recognized: file truncated", "broken", "--force"),
        ("/usr/bin/ld: x.c:9: undefined reference to `SSL_new'", "fit", ""),
        ("gcc: fatal error: Killed signal terminated program cc1", "memory", "--jobs 1"),
        ("x.s: Fatal error: can't write x.o: No space left on device", "disk is full", "room"),
        ("/bin/sh: 1: cannot create x.d: Permission denied", "may not write", "who owns"),
        ("make: bison: No such file or directory", "bison is not installed", "bison"),
        ("/bin/sh: 1: flex: not found", "flex is not installed", "flex"),
        ("bash: line 1: gcc: command not found", "gcc is not installed", "gcc"),
        ("make: *** No rule to make target 'main.c', needed by 'main.o'.  Stop.", "main.c", ""),
        ("/bin/sh: 1: ./autogen.sh: not found", "submodule", "tls_openssl"),
        ("/bin/sh: 1: xml2-odd: not found", "xml2-odd is missing", "leave that module out"),
        ("y.c:5:3: error: unknown type name 'Z'", "newer", "later release"),
    ],
)
def test_causes(line: str, cause: str, mend: str) -> None:
    log = f"cc -c a.c -o a.o\n{line}\nmake: *** [Makefile:1: x] Error 1\n"
    found = diagnose(log, OLD, ("tm",))
    assert found.error == line
    assert cause in found.cause
    assert mend in found.mend


def test_warnings_and_notes_are_no_errors() -> None:
    log = "a.c:1:2: warning: error: in the text of a warning\na.c:3: note: see here\n"
    assert diagnose(log, NEW, ()).error == ""


def test_the_first_of_many() -> None:
    log = "a.c:1:2: error: first\nb.c:1:2: error: second\n"
    assert diagnose(log, NEW, ()).error == "a.c:1:2: error: first"
