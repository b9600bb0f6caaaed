"""Accounts: in the server's database, and their hashes for local use beside it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from rcsops.database import (
    COLUMNS,
    Subscriber,
    Subscribers,
    check_tables,
    open_engine,
    reading,
    writing,
)
from rcsops.database import locations as location_rows
from rcsops.database.schema import silo
from rcsops.database.subscribers import already_there
from rcsops.errors import DatabaseError, RcsopsError
from rcsops.operations.db import check_domain
from rcsops.operations.db_access import project_shape
from rcsops.operations.names import (
    UserName,
    check_password,
    check_plain,
    generate_password,
    parse_user,
)
from rcsops.operations.users_contacts import (
    UserContact,
    forget,
    kept_contact,
    location_key,
    registered,
)
from rcsops.settings import Project
from rcsops.sip.digest import ALGORITHMS, hash_a1

__all__ = [
    "UserChanged",
    "UserContact",
    "UserDetails",
    "UserPage",
    "UserRemoved",
    "UserSummary",
    "add_user",
    "generate_password",
    "list_users",
    "new_user",
    "parse_user",
    "refresh_credentials",
    "remove_user",
    "require_user",
    "set_password",
    "show_user",
]


@dataclass(frozen=True, slots=True)
class UserChanged:
    """An account that has a new password, and the algorithms that it can log in with."""

    user: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserSummary:
    """An account in a list."""

    user: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of accounts; ``total`` is how many there are without the limits of the page."""

    users: tuple[UserSummary, ...]
    total: int


@dataclass(frozen=True, slots=True)
class UserDetails:
    """An account with its contacts that have not expired and its stored messages; ``local`` says
    whether agents of this project can log in as this user without asking."""

    user: str
    algorithms: tuple[str, ...]
    contacts: tuple[UserContact, ...]
    messages: int
    local: bool


@dataclass(frozen=True, slots=True)
class UserRemoved:
    """How much went with the account; ``fault`` says why a running server still has its contacts,
    "" when it has none of them."""

    user: str
    contacts: int
    messages: int
    fault: str = ""


def hashes(user: UserName, password: str) -> dict[str, str]:
    """HA1 for each algorithm that OpenSIPS has a column for (RFC 7616 §3.4.2, RFC 8760)."""
    # An OpenSSL without SHA-512/256 leaves that column empty, and the algorithm unoffered.
    return {
        name: hash_a1(user.username, user.domain, password, name)
        for name in COLUMNS
        if name in ALGORITHMS
    }


def domain_hash(user: UserName, password: str) -> str:
    """HA1 (MD5) for a client that gives ``user@domain`` as its name: OpenSIPS 3.0 has a column."""
    return hash_a1(str(user), user.domain, password, "MD5")


def add_user(project: Project, name: str, *, password: str, plain: bool = False) -> UserChanged:
    """Adds an account; raises `UsageError` for a name or password that will not do and
    `DatabaseError` when the account is there already. ``plain`` stores the password itself too."""
    user = new_user(project, name)
    check_password(password, user)
    if plain:
        check_plain(password)
    ha1 = hashes(user, password)
    with _credentials(project, user, ha1), _changing(project) as (_, accounts):
        accounts.add(
            *user, ha1, ha1b=domain_hash(user, password), password=password if plain else ""
        )
    return UserChanged(str(user), tuple(ha1))


def new_user(project: Project, name: str) -> UserName:
    """`parse_user` for an account that is to be added: one that the engine lets register."""
    opensips = project.settings.engine == "opensips"
    return parse_user(name, *project.settings.all_domains, opensips=opensips)


def set_password(project: Project, name: str, *, password: str, plain: bool = False) -> UserChanged:
    """Gives an account another password; raises like `add_user`, and when there is no account."""
    user = parse_user(name, *project.settings.all_domains)
    check_password(password, user)
    if plain:
        check_plain(password)
    ha1 = hashes(user, password)
    with _credentials(project, user, ha1), _changing(project) as (_, accounts):
        known = accounts.set_password(
            *user, ha1, ha1b=domain_hash(user, password), password=password if plain else ""
        )
        if not known:
            raise _no_such(accounts, user)
    return UserChanged(str(user), tuple(ha1))


def remove_user(project: Project, name: str) -> UserRemoved:
    """Removes an account, its contacts, the messages that wait for it and its local credentials;
    raises `DatabaseError` when there is no such account.

    A running server has the contacts in its memory, from where OpenSIPS would go on finding them.
    """
    user = parse_user(name, *project.settings.all_domains)
    live = registered(project, user, now=0) or ()
    with _credentials(project, user, None), _changing(project) as (connection, accounts):
        if not accounts.remove(*user):
            raise _no_such(accounts, user)
        contacts = location_rows.remove_account(connection, *location_key(project, user))
        messages = connection.execute(
            delete(silo).where(silo.c.username == user.username, silo.c.domain == user.domain)
        ).rowcount
    return UserRemoved(str(user), max(contacts, len(live)), messages, forget(project, user))


def list_users(
    project: Project,
    *,
    pattern: str = "",
    lacking: str = "",
    sort: str = "name",
    reverse: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> UserPage:
    """A page of the accounts; the arguments are those of `Subscribers.list`."""
    with _looking(project) as (_, subscribers):
        found = subscribers.list(
            pattern=pattern,
            lacking=lacking,
            sort=sort,
            reverse=reverse,
            limit=limit,
            offset=offset,
        )
        total = subscribers.count(pattern=pattern, lacking=lacking)
    return UserPage(
        tuple(UserSummary(each.aor, tuple(each.ha1)) for each in found),
        total,
    )


def show_user(project: Project, name: str, *, now: int) -> UserDetails:
    """One account; ``now`` (Unix seconds) leaves out the contacts that have expired.

    The contacts are those of the running server, or what the database keeps of them: OpenSIPS
    writes to it some seconds later. Raises `DatabaseError` when there is no such account.
    """
    user = parse_user(name, *project.settings.all_domains)
    with _looking(project) as (connection, accounts):
        found: Subscriber | None = accounts.get(*user)
        if found is None:
            raise _no_such(accounts, user)
        kept = location_rows.contacts_of(connection, *location_key(project, user))
        waiting = select(func.count()).select_from(silo)
        waiting = waiting.where(
            silo.c.username == user.username, silo.c.domain == user.domain, silo.c.snd_time == 0
        )
        messages = int(connection.execute(waiting).scalar_one())
    contacts = registered(project, user, now=now)
    if contacts is None:
        contacts = tuple(kept_contact(each) for each in kept if each.expires > now)
    return UserDetails(
        user=found.aor,
        algorithms=tuple(found.ha1),
        contacts=contacts,
        messages=messages,
        local=project.credentials.get(found.aor) is not None,
    )


def require_user(project: Project, user: UserName, *, present: bool = True) -> None:
    """Raises `DatabaseError` when there is no such account, or with ``present=False`` when there
    is one: asked before a person has to type anything."""
    with _looking(project) as (_, accounts):
        found = accounts.get(*user)
        if present and found is None:
            raise _no_such(accounts, user)
        if not present and found is not None:
            raise already_there(*user)


def refresh_credentials(project: Project, url: str = "") -> None:
    """Brings the hashes kept for local use to those of the database (``url`` when its password is
    newer than the settings), after something other than `set_password` (an import, a backup) has
    changed them there; forgets accounts that are gone. Raises `DatabaseError`."""
    kept = project.credentials
    with _looking(project, url) as (_, accounts):
        found = {
            aor: accounts.get(user, domain)
            for aor in kept.accounts()
            for user, _, domain in [aor.rpartition("@")]
        }
    kept.remove(*(aor for aor, account in found.items() if account is None))
    for aor, account in found.items():
        local = kept.get(aor) or {}
        if account is not None and not account.ha1.items() <= local.items():
            kept.put(aor, account.ha1)


@contextlib.contextmanager
def _looking(project: Project, url: str = "") -> Iterator[tuple[Connection, Subscribers]]:
    url = url or project.settings.database_url
    shape = project_shape(project)
    with reading(open_engine(url), url) as connection:
        check_tables(connection, shape)
        yield connection, Subscribers(connection, shape.line)


@contextlib.contextmanager
def _changing(project: Project) -> Iterator[tuple[Connection, Subscribers]]:
    url = project.settings.database_url
    shape = project_shape(project)
    with writing(open_engine(url), url) as connection:
        check_tables(connection, shape)
        check_domain(connection, project.settings.domain)
        yield connection, Subscribers(connection, shape.line)


@contextlib.contextmanager
def _credentials(project: Project, user: UserName, ha1: Mapping[str, str] | None) -> Iterator[None]:
    """Notes (None: forgets) the account's hashes for local use once the block, which commits them
    to the database, is through."""
    project.credentials.get(str(user))  # a file that cannot be used should stop us here, not after
    yield
    project.make_state_dir()
    if ha1 is None:
        project.credentials.remove(str(user))
    else:
        project.credentials.put(str(user), ha1)


def _no_such(accounts: Subscribers, user: UserName) -> RcsopsError:
    import difflib

    names = [each.username for each in accounts.list(limit=1000)]
    near = difflib.get_close_matches(user.username, names, n=1)
    return DatabaseError(
        f"there is no user {user}",
        hint=f"did you mean {near[0]!r}?" if near else "rcsops user list shows those that are",
    )
