"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.measure import Figure


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> str:
    texts = [list(head), *[[_shown(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([f"\n{title}", *lines, *([note] if note else [])])


def against(figures: Sequence[Figure], base: Figure, *, per_second: bool = False) -> tuple[list[str], list[list[Any]]]:
    """Head and rows: each contestant beside the base. A ratio above 1 says that it takes longer than the base."""
    head = ["", "turns/s" if per_second else "ms a turn", f"time, {base.name} = 1", "cpu ms", "commits a turn"]
    rows = [
        [
            figure.name,
            1000 / figure.ms if per_second else figure.ms,
            figure.ratio(base),
            _middle(figure.cpu),
            figure.commits,
        ]
        for figure in figures
    ]
    return head, rows


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _shown(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.1f}" if cell >= 20 else f"{cell:.2f}"
    return str(cell)
