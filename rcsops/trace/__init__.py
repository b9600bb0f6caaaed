"""What was said on the wire: a sink that writes every message down, and the ladder drawn from it.

A process that talks is given a :class:`TraceWriter` as its tap. Traces of several processes
are put together by :func:`merge`, and shown by :func:`draw_ladder` or :func:`ladder_json`.
"""

from rcsops.trace.beside import Beside, BesidePiece, beside
from rcsops.trace.compare import Difference, compare
from rcsops.trace.draw import BOTH_TIMES, DrawnLine, draw_ladder, order_nodes
from rcsops.trace.explain import Explained, ExplainedHeader, Story, explain, explain_headers
from rcsops.trace.explain_changes import explain_changes
from rcsops.trace.hide import hide_credentials
from rcsops.trace.highlight import Piece, highlight
from rcsops.trace.ladder import Arrow, Merger, ladder_json, merge, pair_key, times_between
from rcsops.trace.record import TraceEntry, iter_trace, read_trace
from rcsops.trace.summary import Summary, summarize
from rcsops.trace.text import cell_width, fit
from rcsops.trace.writer import TraceWriter, mask_secrets, tapped_line

__all__ = [
    "BOTH_TIMES",
    "Arrow",
    "Beside",
    "BesidePiece",
    "Difference",
    "DrawnLine",
    "Explained",
    "ExplainedHeader",
    "Merger",
    "Piece",
    "Story",
    "Summary",
    "TraceEntry",
    "TraceWriter",
    "beside",
    "cell_width",
    "compare",
    "draw_ladder",
    "explain",
    "explain_changes",
    "explain_headers",
    "fit",
    "hide_credentials",
    "highlight",
    "iter_trace",
    "ladder_json",
    "mask_secrets",
    "merge",
    "order_nodes",
    "pair_key",
    "read_trace",
    "summarize",
    "tapped_line",
    "times_between",
]
