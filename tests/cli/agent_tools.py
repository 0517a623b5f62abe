"""The tools of the CLI tests: each writes a line to the ledger, on the disk before it goes on.

`send_payment` stays inside while the environment says so, and says that it is there on standard output.
"""

from __future__ import annotations

import os
import sys

from power_loop import ToolContext, tool


def _write(context: ToolContext, name: str) -> None:
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{name} {context.idempotency_key}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


@tool(effect="read")
def look_up_invoice(context: ToolContext, number: int) -> str:
    """Look an invoice up."""
    _write(context, "look_up_invoice")
    return f"invoice {number}: 120 EUR due"


@tool
async def send_payment(context: ToolContext, number: int) -> str:
    """Pay an invoice."""
    _write(context, "send_payment")
    if os.environ.get("STAY_IN_PAYMENT"):
        import asyncio

        sys.stdout.write("in send_payment\n")
        sys.stdout.flush()
        # Until a line comes in, or whoever waits here is cancelled.
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb", 0))
        await reader.readline()
    return f"invoice {number} paid"


@tool(effect="idempotent")
def write_receipt(context: ToolContext, number: int) -> str:
    """File a receipt."""
    _write(context, "write_receipt")
    return f"receipt {number} filed"


all_tools = [look_up_invoice, send_payment, write_receipt]

no_tools = "just text"
