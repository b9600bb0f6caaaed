"""The releases of OpenSIPS that are known by name, and the modules that rcsops makes use of."""

import re
from dataclasses import dataclass
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
    def compiler_options(self) -> tuple[str, ...]:
        """What today's compilers must be told (``CC_EXTRA_OPTS`` of its Makefile).

        Up to 3.0 variables are defined in headers, once for each file that includes them; gcc 10
        made that an error of the linker.
        """
        return ("-fcommon",) if self.line <= (3, 0) else ()


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
HEP_MODULES = ("proto_hep", "tracer")
DATABASE_MODULES = {"mysql": "db_mysql", "mariadb": "db_mysql", "sqlite": "db_sqlite"}


def minimal_modules(
    line: Line,
    *,
    database_url: str = "",
    mi_transport: str = "fifo",
    transports: tuple[str, ...] = ("udp", "tcp"),
    hep: bool = False,
) -> tuple[str, ...]:
    """The modules that the configuration rendered for these settings loads, in order of name.

    Without ``database_url`` both MySQL's and SQLite's driver, since either may be chosen later.
    ``transports`` are those of the addresses to listen at; with ``hep`` those to be followed by.
    """
    scheme = urlsplit(database_url).scheme.partition("+")[0]
    names = {*MINIMAL_MODULES}
    names.update({DATABASE_MODULES[scheme]} if scheme in DATABASE_MODULES else {*_DRIVERS})
    if mi_transport == "http":
        names.update(("httpd", "mi_http"))
    if hep:
        names.update(HEP_MODULES)
    if {"tls", "wss"} & {*transports}:
        names.add("tls_mgm")
        # Until 3.0 tls_mgm called the library itself.
        names.update(("tls_openssl",) if line > (3, 0) else ())
    names.update(f"proto_{each}" for each in transports if each in ("tls", "ws", "wss"))
    return tuple(sorted(names))


_DRIVERS = ("db_mysql", "db_sqlite")
