"""When a file was changed last, as SDP says it: ``a=file-date`` (RFC 5547 §6)."""

import re
from datetime import UTC, datetime, timedelta, timezone

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MODIFICATION = re.compile(r'(?:^|[ \t"])modification:[ \t]*"([^"]{1,64})"', re.IGNORECASE)
# RFC 5322 §3.3, with the old names of UTC; what else is written in dates of mail is not needed.
_DATE = re.compile(
    r"(?:[A-Za-z]{3},)?[ \t]*([0-9]{1,2})[ \t]+([A-Za-z]{3})[ \t]+([0-9]{4})[ \t]+"
    r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?[ \t]+(?:([+-])([0-9]{2})([0-9]{2})|GMT|UTC?|Z)[ \t]*"
)


def modification_date(text: str) -> float | None:
    """The modification in a value of ``a=file-date``, in seconds since 1970; None without one that
    can be read and is not before 1970."""
    found = _MODIFICATION.search(text)
    date = _DATE.fullmatch(found[1]) if found is not None else None
    if date is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = date.groups()
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        number = _MONTHS.index(month.capitalize()) + 1
        clock = int(hour), int(minute), min(int(second or 0), 59)
        seconds = datetime(int(year), number, int(day), *clock, tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def file_date(modified: float) -> str | None:
    """The value of ``a=file-date`` that says when a file was modified (seconds since 1970); None
    for a time that such a date cannot say."""
    try:
        date = datetime.fromtimestamp(modified, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    day, month = _DAYS[date.weekday()], _MONTHS[date.month - 1]
    said = f"{day}, {date.day:02} {month} {date.year:04} {date:%H:%M:%S} +0000"
    return f'modification:"{said}"'
