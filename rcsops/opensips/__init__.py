"""A real OpenSIPS: its releases, its source and build, and what is installed of it."""

from rcsops.opensips.installed import RECORD_NAME, Installation, find, inspect, private_prefix
from rcsops.opensips.releases import DEFAULT, RELEASES, Line, Release, resolve_release

__all__ = [
    "DEFAULT",
    "RECORD_NAME",
    "RELEASES",
    "Installation",
    "Line",
    "Release",
    "find",
    "inspect",
    "private_prefix",
    "resolve_release",
]
