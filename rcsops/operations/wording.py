"""How addresses, sizes and times are said to people."""


def short_name(aor: str, domain: str) -> str:
    """``sip:bob@rcs.example`` as ``bob``, where that is the domain."""
    return aor.removeprefix("sip:").removesuffix(f"@{domain}")


def amount(octets: int) -> str:
    """A size as people say it: ``5 bytes``, ``1.4 MB``."""
    if octets < 1000:
        return "1 byte" if octets == 1 else f"{octets} bytes"
    size = octets / 1000
    for unit in ("kB", "MB"):
        # 999.95 would be shown as 1000.0.
        if size < 999.95:
            return f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: int) -> str:
    """``0:02:05``, ``3 d 4:00:00``."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
