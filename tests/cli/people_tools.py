"""Tools whose calls wait for somebody: an approval, an answer. What runs stands in the ledger."""

from __future__ import annotations

import os

from power_loop import ask_human, tool


@tool(approval="money leaves")
def pay(number: int) -> str:
    """Pay an invoice."""
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"pay {number}\n")
    return f"invoice {number} paid"


all_tools = [pay, ask_human]
