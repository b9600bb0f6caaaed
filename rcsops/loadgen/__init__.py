"""Many agents: what they do and when, what came of it, in one process or several.

`LoadPlan` says what is wanted, `run_load` has worker processes do it and tells once a second how it
goes; `LoadReport` is the outcome. Within a worker `pacing` says when something is due, `scenarios`
what then happens between two agents, `ledger` keeps count of every message.
"""

from rcsops.loadgen.histogram import Histogram
from rcsops.loadgen.plan import SCENARIOS, Account, LoadPlan
from rcsops.loadgen.report import LoadReport, Second
from rcsops.loadgen.run import run_load
from rcsops.loadgen.statistics import Operation, Statistics

__all__ = [
    "SCENARIOS",
    "Account",
    "Histogram",
    "LoadPlan",
    "LoadReport",
    "Operation",
    "Second",
    "Statistics",
    "run_load",
]
