"""Tools: typed functions a model may call, and how a call of one is checked, run and put into words.

`define` makes them (`@tool`), `tool` is the value, `registry` a set of them; `arguments` and `validate` check what a
model wrote before anything runs, `invoke` runs one call exactly once, `encode` is its result as text, `doubt` what a
`reconcile` can say, `recall` the tool that reads large results whole, `people` the one that asks a person; the values
that shorten results are here too.
Packages above may import from here. Nothing here knows of the ledger or the store, or retries.
"""

from power_loop.tools.arguments import Arguments, ArgumentsInvalid
from power_loop.tools.complete import complete_tool
from power_loop.tools.context import ToolContext
from power_loop.tools.define import tool
from power_loop.tools.doubt import Done, NotDone, Reconcile, Reconciled, Unknown
from power_loop.tools.encode import encoded
from power_loop.tools.invoke import ask_approval, ask_reconcile, invoke
from power_loop.tools.options import ToolOptions
from power_loop.tools.people import ask_human
from power_loop.tools.recall import recall_tool
from power_loop.tools.registry import ToolRegistry
from power_loop.tools.tool import DecoratedTool, Tool
from power_loop.transcript.shorten import HeadAndTail, Shortener, Structured, Tail, Whole

__all__ = [
    "Arguments",
    "ArgumentsInvalid",
    "DecoratedTool",
    "Done",
    "HeadAndTail",
    "NotDone",
    "Reconcile",
    "Reconciled",
    "Shortener",
    "Structured",
    "Tail",
    "Tool",
    "ToolContext",
    "ToolOptions",
    "ToolRegistry",
    "Unknown",
    "Whole",
    "ask_approval",
    "ask_human",
    "ask_reconcile",
    "complete_tool",
    "encoded",
    "invoke",
    "recall_tool",
    "tool",
]
