"""How things look: text for people, whatever bytes it is made of, and JSON for scripts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from power_loop.cli.shapes import shape

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What could move the cursor, colour the terminal or turn the reading direction: a model may have written it."""


def plain(text: str) -> str:
    """The text with every control character but newline and tab made visible."""
    return _CONTROL.sub(_visible, text.replace("\r\n", "\n"))


def line(text: str, width: int | None = None) -> str:
    """The text on one line, cut to a width."""
    joined = plain(" ".join(text.split()))
    return joined if width is None or len(joined) <= width else f"{joined[: max(1, width - 3)]}..."


def indented(text: str, by: int) -> str:
    return plain(text).replace("\n", "\n" + " " * by)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show(text: str = "") -> None:
    click.echo(text)


def show_json(value: object) -> None:
    """One JSON value on a line of standard output."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    show(json.dumps(shape(value), ensure_ascii=not unicode))


def dim(text: str) -> str:
    return click.style(text, dim=True)


def bold(text: str) -> str:
    return click.style(text, bold=True)


def coloured(state: str, text: str | None = None) -> str:
    """A state, or another text for it, in a colour that says whether somebody should look."""
    return click.style(state if text is None else text, fg=_COLOURS.get(state))


_COLOURS: Final[dict[str, str]] = {
    "idle": "green", "succeeded": "green", "completed": "green", "done": "green", "ok": "green",
    "running": "cyan", "started": "cyan", "asking": "cyan", "acting": "cyan",
    "in_doubt": "red", "in doubt": "red", "failed": "red", "damaged": "red", "bad": "red",
    "interrupted_in_tools": "red", "interrupted_before_model": "yellow", "interrupted": "yellow",
    "requested": "yellow", "reported": "yellow", "aborted": "yellow", "warn": "yellow", "timed_out": "yellow",
    "awaiting_approval": "magenta", "waiting_for_input": "magenta", "denied": "yellow", "approved": "green",
}  # fmt: skip


def moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def lasted(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return ""
    seconds = (end - start).total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their columns: fitted to a terminal, else aligned and whole. The last column may be long."""
    if sys.stdout.isatty():
        _rich_table(columns, rows)
        return
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    for row in (columns, *rows):
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for at, column in enumerate(columns):
        last = at == len(columns) - 1
        whole = None if last else max(len(row[at]) for row in (columns, *rows))
        made.add_column(column, no_wrap=True, min_width=whole, ratio=1 if last else None)
    for row in rows:
        made.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console(no_color=bool(os.environ.get("NO_COLOR"))).print(made)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"<{code:02X}>"


def prepare_streams() -> None:
    """Let no character that the terminal lacks, and no half of one, be a crash."""
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
