"""Tools: typed functions a model may call, and how a call of one is checked, run and put into words.

`define` makes them (`@tool`), `tool` is the value, `registry` a set of them; `arguments` and `validate` check what a
model wrote before anything runs, `invoke` runs one call exactly once, `encode` is its result as text, `doubt` what a
`reconcile` can say. Packages above may import from here. Nothing here knows of the ledger or the store, or retries.
"""

from power_loop.tools.arguments import Arguments, ArgumentsInvalid
from power_loop.tools.context import ToolContext
from power_loop.tools.define import tool
from power_loop.tools.doubt import Done, NotDone, Reconcile, Reconciled, Unknown
from power_loop.tools.encode import encoded
from power_loop.tools.invoke import ask_reconcile, invoke
from power_loop.tools.options import ToolOptions
from power_loop.tools.registry import ToolRegistry
from power_loop.tools.tool import DecoratedTool, Tool

__all__ = [
    "Arguments",
    "ArgumentsInvalid",
    "DecoratedTool",
    "Done",
    "NotDone",
    "Reconcile",
    "Reconciled",
    "Tool",
    "ToolContext",
    "ToolOptions",
    "ToolRegistry",
    "Unknown",
    "ask_reconcile",
    "encoded",
    "invoke",
    "tool",
]
