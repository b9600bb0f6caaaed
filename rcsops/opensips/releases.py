"""The releases of OpenSIPS that are known by name, what each is made of and what it needs."""

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from rcsops.errors import UsageError

# Major and minor number: the statements of the configuration and the tables differ by them alone.
Line = tuple[int, int]

UPSTREAM = "https://github.com/OpenSIPS/opensips"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of OpenSIPS.

    ``tree`` is git's id of the tag's tree; ``archive_tree`` that of what an archive of the tag
    unpacks to, which has no submodules. Both are empty for a release that is not known by name,
    whose source therefore cannot be checked.
    """

    version: str
    tag: str = ""
    date: str = ""
    commit: str = ""
    tree: str = ""
    archive_tree: str = ""
    state: str = ""
    lts: bool = False
    ended: bool = False

    @property
    def line(self) -> Line:
        """Major and minor number."""
        return release_line(self.version)

    @property
    def known(self) -> bool:
        """Whether its source can be checked against upstream's."""
        return bool(self.archive_tree)

    @property
    def url(self) -> str:
        """Upstream's address of its source, as a tar archive."""
        return f"{UPSTREAM}/archive/refs/tags/{self.tag or self.version}.tar.gz"

    @property
    def make_variables(self) -> tuple[str, ...]:
        """What its Makefile must be told on today's compilers.

        Up to 3.0 variables are defined in headers, once for each file that includes them; gcc 10
        made that an error of the linker.
        """
        return ("CC_EXTRA_OPTS=-fcommon",) if self.line <= (3, 0) else ()


RELEASES: tuple[Release, ...] = (
    Release(
        "3.0.2",
        tag="3.0.2",
        date="2020-01-28",
        commit="7e8167853dab04ec0ab8e2799d41a55789ede725",
        tree="e888d6576e5fb3732e395e7790d69125eabea224",
        archive_tree="e888d6576e5fb3732e395e7790d69125eabea224",
        state="support ended in 2021",
        ended=True,
    ),
    Release(
        "3.4.18",
        tag="3.4.18",
        date="2026-05-06",
        commit="b7b7c89b22e8f454be420d82b8c7fea1240bc667",
        tree="b9a7f6e73d2022fdbb159f94063f1e7a23fc3ded",
        archive_tree="a08c99c86a2115762904248e050470dec2f2701f",
        state="long-term support",
        lts=True,
    ),
    Release(
        "3.6.8",
        tag="3.6.8",
        date="2026-08-19",
        commit="f9f85260e5def73e3f854f5e22d148d2d977e85f",
        tree="a6dfc30484044cc52551ba2bcb93f1455aa49a6b",
        archive_tree="4a1d7389088fdf30b5a47fcee56ee515f1638f73",
        state="long-term support, recommended",
        lts=True,
    ),
    Release(
        "4.0.1",
        tag="4.0.1",
        date="2026-08-19",
        commit="1747e6ed20a477b61b8e8e068212402b1645dc84",
        tree="27f44061287af732d4531ee09c6ab7a50d871a14",
        archive_tree="75795febf764d0bf8e83a427c2b37eaef0a22aaf",
        state="newest",
    ),
)

DEFAULT = "3.0.2"
RECOMMENDED = "3.6"


def version_key(version: str) -> tuple[int, ...]:
    """Sorts versions as numbers: 3.4.18 after 3.4.9."""
    return tuple(int(digits) for digits in re.findall(r"[0-9]+", version)[:3])


def release_line(version: str) -> Line:
    """Major and minor number of ``3.6.8`` or ``3.6.8-dev``; raises `UsageError`."""
    match = re.match(r"([0-9]+)\.([0-9]+)(?![0-9])", version)
    if match is None:
        raise UsageError(f"{version!r} is not a release", hint='write it like "3.6.8" or "3.6"')
    return int(match[1]), int(match[2])


def known_release(version: str) -> Release | None:
    """The release that is called ``version`` exactly, None for any other text."""
    return next((each for each in RELEASES if each.version == version), None)


def resolve_release(text: str) -> Release:
    """The known release that ``text`` names; ``3.6`` is the newest known one of its line.

    Raises `UsageError` that names the known ones.
    """
    exact = known_release(text)
    if exact is not None:
        return exact
    line = [each for each in RELEASES if f"{each.line[0]}.{each.line[1]}" == text]
    if line:
        return max(line, key=lambda each: version_key(each.version))
    known = ", ".join(each.version for each in RELEASES)
    raise UsageError(
        f"there is no known release {text!r}",
        hint=f"known are {known}; any other is installed with --release {text} --from SOURCE",
    )


# What every configuration that rcsops renders loads. proto_udp and proto_tcp are in the core.
MINIMAL_MODULES: tuple[str, ...] = (
    "auth",
    "auth_db",
    "dialog",
    "maxfwd",
    "mi_datagram",
    "mi_fifo",
    "msilo",
    "nathelper",
    "pike",
    "ratelimit",
    "registrar",
    "rr",
    "signaling",
    "sipmsgops",
    "sl",
    "textops",
    "tm",
    "usrloc",
)
# They are sources of the core, though a configuration loads them like modules.
CORE_PROTOCOLS = ("proto_udp", "proto_tcp")
DATABASE_MODULES = {"mysql": "db_mysql", "mariadb": "db_mysql", "sqlite": "db_sqlite"}


def minimal_modules(
    line: Line,
    *,
    database_url: str = "",
    mi_transport: str = "fifo",
    transports: tuple[str, ...] = ("udp", "tcp"),
) -> tuple[str, ...]:
    """The modules that the configuration rendered for these settings loads, in order of name.

    Without ``database_url`` both MySQL's and SQLite's driver, since either may be chosen later.
    ``transports`` are those of the addresses to listen at.
    """
    scheme = urlsplit(database_url).scheme.partition("+")[0]
    names = {*MINIMAL_MODULES}
    names.update({DATABASE_MODULES[scheme]} if scheme in DATABASE_MODULES else {*_DRIVERS})
    if mi_transport == "http":
        names.update(("httpd", "mi_http"))
    if {"tls", "wss"} & {*transports}:
        names.add("tls_mgm")
        # Until 3.0 tls_mgm called the library itself.
        names.update(("tls_openssl",) if line > (3, 0) else ())
    names.update(f"proto_{each}" for each in transports if each in ("tls", "ws", "wss"))
    return tuple(sorted(names))


_DRIVERS = ("db_mysql", "db_sqlite")


class Need(NamedTuple):
    """A Debian package that something is compiled with, and how to see whether it is there.

    ``headers`` are included, in order, in a probe that is compiled; ``programs`` must be on PATH;
    ``config`` is a command that prints more options for the compiler.
    """

    package: str
    headers: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    config: tuple[str, ...] = ()


BUILD_TOOLS: tuple[Need, ...] = (
    Need("gcc", programs=("gcc",)),
    Need("libc6-dev", headers=("stdio.h", "pthread.h")),
    Need("make", programs=("make",)),
    Need("bison", programs=("bison",)),
    Need("flex", programs=("flex",)),
)

_MYSQL = Need(
    "default-libmysqlclient-dev", headers=("mysql.h",), config=("mysql_config", "--include")
)
_SQLITE = Need("libsqlite3-dev", headers=("sqlite3.h",))
_POSTGRES = Need("libpq-dev", headers=("libpq-fe.h",), config=("pg_config", "--includedir"))
_HTTPD = Need("libmicrohttpd-dev", headers=("stdint.h", "microhttpd.h"))
_SSL = Need("libssl-dev", headers=("openssl/ssl.h",))
_XML = Need("libxml2-dev", headers=("libxml/parser.h",), config=("xml2-config", "--cflags"))
_CURL = Need("libcurl4-openssl-dev", headers=("curl/curl.h",))
_JSON = Need("libjson-c-dev", headers=("json-c/json.h",))
_PCRE1 = Need("libpcre3-dev", headers=("pcre.h",))
_PCRE2 = Need("libpcre2-dev", headers=("pcre2posix.h",))
_RABBITMQ = Need("librabbitmq-dev", headers=("stdint.h", "amqp.h"))
_LDAP = Need("libldap2-dev", headers=("ldap.h",))
_EXPAT = Need("libexpat1-dev", headers=("expat.h",))
_UUID = Need("uuid-dev", headers=("uuid/uuid.h",))

# The modules whose packages are known. A module that stands in upstream's exclude_modules and not
# here needs more than Debian has or than we have seen built.
BUILD_NEEDS: dict[str, tuple[Need, ...]] = {
    "auth_web3": (_CURL,),
    "b2b_logic": (_XML,),
    "b2b_logic_xml": (_XML,),
    "cachedb_memcached": (Need("libmemcached-dev", headers=("libmemcached/memcached.h",)),),
    "cachedb_redis": (Need("libhiredis-dev", headers=("hiredis/hiredis.h",)),),
    "carrierroute": (Need("libconfuse-dev", headers=("confuse.h",)),),
    "cgrates": (_JSON,),
    "compression": (Need("zlib1g-dev", headers=("zlib.h",)),),
    "cpl_c": (_XML,),
    "db_http": (_CURL,),
    "db_mysql": (_MYSQL,),
    "db_postgres": (_POSTGRES,),
    "db_sqlite": (_SQLITE,),
    "db_unixodbc": (Need("unixodbc-dev", headers=("sql.h",)),),
    "dialplan": (_PCRE2,),
    "emergency": (_CURL,),
    "event_kafka": (Need("librdkafka-dev", headers=("librdkafka/rdkafka.h",)),),
    "event_rabbitmq": (_RABBITMQ,),
    "h350": (_LDAP,),
    "httpd": (_HTTPD,),
    "identity": (_SSL,),
    "jabber": (_EXPAT,),
    "json": (_JSON,),
    "ldap": (_LDAP,),
    "mi_xmlrpc": (_XML,),
    "mi_xmlrpc_ng": (_XML,),
    "pi_http": (_XML,),
    "presence": (_XML,),
    "presence_dfks": (_XML,),
    "presence_dialoginfo": (_XML,),
    "presence_mwi": (_XML,),
    "presence_reginfo": (_XML,),
    "presence_xml": (_XML,),
    "proto_ipsec": (Need("libmnl-dev", headers=("libmnl/libmnl.h",)),),
    "proto_sctp": (Need("libsctp-dev", headers=("netinet/sctp.h",)),),
    "proto_tls": (_SSL,),
    "proto_wss": (_SSL,),
    "pua": (_XML,),
    "pua_bla": (_XML,),
    "pua_dialoginfo": (_XML,),
    "pua_mi": (_XML,),
    "pua_reginfo": (_XML,),
    "pua_usrloc": (_XML,),
    "pua_xmpp": (_XML,),
    "rabbitmq": (_RABBITMQ,),
    "rabbitmq_consumer": (_RABBITMQ,),
    "regex": (_PCRE2,),
    "rest_client": (_CURL,),
    "rls": (_XML,),
    "siprec": (_UUID,),
    "stir_shaken": (_SSL,),
    "tls_mgm": (_SSL,),
    "tls_openssl": (_SSL,),
    "uuid": (_UUID,),
    "xcap": (_XML,),
    "xcap_client": (_XML, _CURL),
    "xml": (_XML,),
    "xmpp": (_EXPAT,),
}


def build_needs(modules: tuple[str, ...], line: Line) -> tuple[Need, ...]:
    """What these modules are compiled with on a release of ``line``, each package once."""
    needs = dict.fromkeys(need for name in modules for need in BUILD_NEEDS.get(name, ()))
    if line <= (3, 0):
        needs = dict.fromkeys(_PCRE1 if need is _PCRE2 else need for need in needs)
    return tuple(needs)
