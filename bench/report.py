"""What a workload found: tables for people, and the same figures for the JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def text(self) -> str:
        """For a terminal."""
        shown = [list(self.head), *[[_shown(cell) for cell in row] for row in self.rows]]
        widths = [max(len(row[column]) for row in shown) for column in range(len(self.head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in shown
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([f"\n{self.title}", *lines, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """For a page."""
        lines = [list(self.head), ["---", *("---:" for _ in self.head[1:])]]
        lines += [[_shown(cell) for cell in row] for row in self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    tables: Sequence[Table]
    data: dict[str, Any] = field(default_factory=dict)
    """Every single figure, JSON values only; `bench/targets.py` and the plots read it."""


def _shown(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 20 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
