"""What a run leaves in docs/: the tables between the marks of performance.md, and the plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import environment, targets
from bench.report import Table
from bench.venvs import ROOT
from bench.workloads import NAMES

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- results -->"
END: Final = "<!-- /results -->"


def stored(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Tables as JSON values."""
    return [
        {"title": one.title, "head": list(one.head), "rows": [list(row) for row in one.rows], "note": one.note}
        for one in tables
    ]


def write(result: dict[str, Any]) -> list[Path]:
    """Write the results into the page, and the plots beside it; the files written.

    Raises:
        ValueError: the page has lost its marks.
    """
    from bench import plots

    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} needs the marks {BEGIN} and {END}")
    drawn = plots.draw(result["data"], PAGE.parent / "performance")
    PAGE.write_text(f"{before}{BEGIN}\n\n{_results(result, drawn)}\n{END}{after}")
    return [PAGE, *drawn]


def _results(result: dict[str, Any], drawn: Sequence[Path]) -> str:
    made = ", ".join(f"{name} {value}" for name, value in result.get("environment", {}).items())
    parts = [f"Made on: {made}.\n", targets.table(result["data"]).markdown()]
    parts += [f"![{path.stem.replace('-', ' ')}](performance/{path.name})\n" for path in drawn]
    parts.append(environment.table(result["contestants"]).markdown())
    for name in NAMES:
        parts += [Table(**table).markdown() for table in result["tables"].get(name, ())]
    return "\n".join(parts)
