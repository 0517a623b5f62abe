"""The agent of the demo: three tools over a ledger, and the script of the model that calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from power_loop.tools import Tool, ToolContext, tool

INVOICE: Final = 17
AMOUNT: Final = 120
REQUEST: Final = f"Pay invoice {INVOICE} and file the receipt."
ANSWER: Final = f"Invoice {INVOICE} was paid before the crash, so I did not pay it again. The receipt is filed."

SCRIPT: Final[dict[str, Any]] = {
    "rules": [
        {
            "when": {"round": 0},
            "reply": [
                ["look_up_invoice", {"number": INVOICE}],
                ["send_payment", {"number": INVOICE, "amount": AMOUNT}],
                ["write_receipt", {"number": INVOICE}],
            ],
        },
        {"when": {"round": 1}, "reply": [["look_up_invoice", {"number": INVOICE}]]},
    ],
    "otherwise": ANSWER,
}
"""The reply depends on the request alone: to the model, a client that died is no different from a slow one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: what really happened in the world."""

    call: str
    """The call's idempotency key: which of all calls did it."""
    tool: str
    what: str
    """`start`, `money left` or `end`."""


class Ledger:
    """The world outside: a file that only the tools write, each line on the disk before they go on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, context: ToolContext, tool: str, what: str) -> None:
        line = json.dumps({"call": context.idempotency_key, "tool": tool, "what": what}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> list[Entry]:
        if not self.path.exists():
            return []
        return [Entry(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]


def tools(ledger: Ledger, money_left: Callable[[], None]) -> list[Tool]:
    """The agent's tools. `money_left` is called in the middle of `send_payment`, when the effect cannot be undone."""

    @tool(effect="read")
    def look_up_invoice(context: ToolContext, number: int) -> dict[str, object]:
        """Look up an invoice: what is due, and whether it is paid.

        Args:
            number: The invoice's number.
        """
        ledger.write(context, "look_up_invoice", "start")
        paid = any(entry.what == "money left" for entry in ledger.read())
        ledger.write(context, "look_up_invoice", "end")
        return {"invoice": number, "due": 0 if paid else AMOUNT, "paid": paid}

    @tool(effect="once")
    def send_payment(context: ToolContext, number: int, amount: int) -> str:
        """Pay an invoice. Repeating it pays twice.

        Args:
            number: The invoice's number.
            amount: In euros.
        """
        ledger.write(context, "send_payment", "start")
        ledger.write(context, "send_payment", "money left")
        money_left()
        ledger.write(context, "send_payment", "end")
        return f"paid {amount} EUR for invoice {number}"

    @tool(effect="idempotent")
    def write_receipt(context: ToolContext, number: int) -> str:
        """File the receipt of an invoice. Writing it again changes nothing.

        Args:
            number: The invoice's number.
        """
        ledger.write(context, "write_receipt", "start")
        ledger.write(context, "write_receipt", "end")
        return f"receipt {number} filed"

    return [look_up_invoice, send_payment, write_receipt]
