"""Where a user is registered: as the running server has it in memory, or as the database keeps it.

OpenSIPS writes contacts to the database some seconds later, and reads them from there at its start
alone. So whoever wants to know asks the server, and whoever removes an account tells it.
"""

from dataclasses import dataclass

from rcsops.database import ContactRow
from rcsops.errors import MiError, MiUnreachable
from rcsops.operations.names import UserName, bound_name
from rcsops.settings import Project

# A server that is there answers at once.
_MI_SECONDS = 2.0
_FOREVER = 2**32 - 1


@dataclass(frozen=True, slots=True)
class UserContact:
    """Where a user is registered; ``expires`` in Unix seconds."""

    contact: str
    expires: int
    received: str
    user_agent: str
    call_id: str


def location_key(project: Project, user: UserName) -> tuple[str, str]:
    """What stands for a user in the columns username and domain of ``location``."""
    if project.settings.engine == "embedded":
        return user.username, user.domain
    # OpenSIPS writes user@domain, and parts it at the first @: that of a%40b, if need be.
    name, _, domain = f"{bound_name(user.username)}@{user.domain}".partition("@")
    return name, domain


def kept_contact(row: ContactRow) -> UserContact:
    """A row of ``location``."""
    return UserContact(row.contact, row.expires, row.received or "", row.user_agent, row.callid)


def registered(project: Project, user: UserName, *, now: int) -> tuple[UserContact, ...] | None:
    """The contacts in the memory of the running server; None when none answers."""
    from rcsops.operations.mi import contacts  # with the MI package, for a server alone

    try:
        found = contacts(project, str(user), timeout=_MI_SECONDS)
    except (MiError, KeyError, TypeError, AttributeError):
        return None
    return tuple(
        UserContact(
            each.contact,
            now + each.expires if isinstance(each.expires, int) else _FOREVER,
            each.received,
            each.user_agent,
            each.call_id,
        )
        for each in found
    )


def forget(project: Project, user: UserName) -> str:
    """Takes the contacts out of the memory of the running server; why that failed, "" when it has
    none of them now."""
    from rcsops.operations.mi import forget_contacts

    try:
        forget_contacts(project, *user)
    except MiUnreachable as error:
        return str(error) if error.running else ""
    except MiError as error:
        return str(error)
    return ""
