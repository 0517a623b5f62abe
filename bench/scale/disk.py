"""Bytes on disk for a byte of conversation, after closing; and where they are, by table, index and column."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.plan import Plan
from bench.report import Found, Table
from bench.scale.child import ask
from bench.scale.inside import Column, Part, columns_of, conversation_of, parts_of, raw_size_of
from bench.scale.turn import fill

COLUMNS: Final = 20
"""How many of them a table shows; the data has all."""


async def measure(plan: Plan) -> Found:
    shapes: dict[str, dict[str, Any]] = {
        "300 turns in one session": {"sessions": 1, "turns": 300},
        "100 sessions of 20 turns": {"sessions": 100, "turns": 20},
        "about 1 KB a message, 100 sessions of 20 turns": {"sessions": 100, "turns": 20, "talk": "long"},
    }
    if plan.quick:
        shapes = {
            "300 turns in one session": {"sessions": 1, "turns": 300},
            "50 sessions of 20 turns": {"sessions": 50, "turns": 20},
            "about 1 KB a message, 10 sessions of 20 turns": {"sessions": 10, "turns": 20, "talk": "long"},
        }
    data: dict[str, Any] = {}
    tables: list[Table] = []
    rows = []
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        for number, (name, shape) in enumerate(shapes.items()):
            path = Path(folder) / f"{number}.db"
            size = await ask(fill, database=str(path), **shape)
            messages, texts = await asyncio.to_thread(conversation_of, path)
            parts = await asyncio.to_thread(parts_of, path)
            columns = await asyncio.to_thread(columns_of, path)
            raw = await asyncio.to_thread(raw_size_of, path, Path(folder) / f"raw{number}.db")
            one = {"bytes": size, "messages": messages, "texts": texts, "ratio": size / texts, "raw": raw / texts}
            rows.append([name, messages, texts / messages, size / messages, size / texts, raw / texts])
            tables += [_by_part(name, parts, messages), _by_column(name, columns, messages)]
            data[name] = one | {"parts": [asdict(p) for p in parts], "columns": [asdict(c) for c in columns]}
    ratios = [one["ratio"] for one in data.values()]
    head = ["", "messages", "JSON bytes a message", "on disk a message", "on disk for a byte of JSON", "raw sqlite3"]
    title = "Bytes on disk after closing, the log folded in"
    targets = {"disk_ratio": max(ratios[:2]), "disk_ratio_long": ratios[2]}
    note = "Raw sqlite3: the same messages in one table of (session, seq, role, body) with that primary key, no more."
    return Found(
        tables=[Table(title=title, head=head, rows=rows, note=note), *tables], data={"shapes": data, "targets": targets}
    )


def _by_part(name: str, parts: list[Part], messages: int) -> Table:
    def figures(of: Sequence[Part]) -> list[float]:
        size, payload, unused = (sum(getattr(one, part) for one in of) for part in ("bytes", "payload", "unused"))
        return [one / messages for one in (size, payload, unused, size - payload - unused)]

    whole = sum(part.bytes for part in parts)
    large = [part for part in parts if part.bytes * 200 >= whole]
    small = parts[len(large) :]
    rows: list[list[Any]] = [[f"{part.name} ({part.kind})", part.rows, *figures([part])] for part in large]
    rows.append([f"{len(small)} smaller ones, many of them an empty page", None, *figures(small)])
    rows.append(["all", None, *figures(parts)])
    head = ["", "rows", "bytes a message", "of it records", "of it free in pages", "of it cells and headers"]
    return Table(title=f"Where the bytes are: {name}", head=head, rows=rows)


def _by_column(name: str, columns: list[Column], messages: int) -> Table:
    rows = [[f"{column.table}.{column.name}", column.bytes / messages] for column in columns[:COLUMNS]]
    rest = columns[COLUMNS:]
    if rest:
        rows.append([f"{len(rest)} others", sum(column.bytes for column in rest) / messages])
    return Table(title=f"Values in the tables: {name}", head=["", "bytes a message"], rows=rows)
