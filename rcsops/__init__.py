"""rcsops: one-to-one RCS chat over OpenSIPS.

``from rcsops import Agent`` gives the scriptable RCS endpoint; the command line is ``rcsops``.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Agent", "__version__"]

if TYPE_CHECKING:
    from rcsops.ua import Agent


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `rcsops --help` does not pay for asyncio and the cores.
    if name == "Agent":
        from rcsops.ua import Agent

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
