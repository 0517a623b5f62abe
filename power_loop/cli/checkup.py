"""`power-loop doctor`: every check of a database file, in words, with the way out."""

from __future__ import annotations

from typing import Final

import click

from power_loop.cli import output
from power_loop.cli.exits import Exit
from power_loop.cli.told import Told, told
from power_loop.store.sqlite.doctor import Finding, Grade, examine

MOST_SPOTS: Final = 20


@click.command(short_help="Examine the database, every row of it.")
@told
def doctor(told: Told) -> int:
    """Examine the database by reading alone: the file, its schema, every row of every table.

    Exits with 8 if something is bad; warnings alone exit with 0.
    """
    findings = examine(told.path)
    bad = any(finding.grade is Grade.BAD for finding in findings)
    if told.json:
        output.show_json({"path": told.path, "healthy": not bad, "checks": findings})
        return Exit.UNWELL if bad else Exit.OK
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        _show(finding, width)
    warned = sum(finding.grade is Grade.WARN for finding in findings)
    output.show()
    verdict = "something is bad" if bad else "nothing is bad"
    output.show(f"{output.line(told.path)}: {verdict}, {warned} warning(s)")
    return Exit.UNWELL if bad else Exit.OK


def _show(finding: Finding, width: int) -> None:
    grade = output.coloured(finding.grade, f"{finding.grade:<4}")
    output.show(f"{grade}  {finding.name:<{width}}  {output.line(finding.words)}")
    margin = " " * (width + 8)
    for spot in finding.spots[:MOST_SPOTS]:
        where = "" if spot.session is None or repr(spot.session) in spot.what else f"session {spot.session}: "
        output.show(f"{margin}- {output.line(where + spot.what)}")
    if len(finding.spots) > MOST_SPOTS:
        output.show(f"{margin}- and {len(finding.spots) - MOST_SPOTS} more (--json lists all)")
    if finding.way_out is not None:
        output.show(output.dim(f"{margin}=> {output.line(finding.way_out)}"))
