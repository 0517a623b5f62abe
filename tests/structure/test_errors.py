"""Codes are documented, and the documentation is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import llm_client.scripted  # noqa: F401 - it has an error of its own
import power_loop.stateful_loop  # noqa: F401
from power_loop.errors import PowerLoopError

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z_.]+)` \| `(\w+)` \|", re.MULTILINE)


def tree(root: type[PowerLoopError]) -> Iterator[type[PowerLoopError]]:
    for child in root.__subclasses__():
        if child.__module__.split(".")[0] in ("power_loop", "llm_client"):
            yield child
            yield from tree(child)


def documented() -> dict[str, str]:
    return dict(ROW.findall((ROOT / "docs/errors.md").read_text()))


@pytest.mark.acceptance("L7")
def test_every_error_class_is_documented_under_its_code() -> None:
    table = documented()
    for error in tree(PowerLoopError):
        assert table.get(error.code) == error.__name__, f"{error.__name__} ({error.code}) is not in docs/errors.md"


@pytest.mark.acceptance("L7")
def test_every_documented_code_is_raised_somewhere() -> None:
    source = "".join(
        file.read_text() for package in ("power_loop", "llm_client") for file in (ROOT / package).rglob("*.py")
    )
    for code in documented():
        assert f'"{code}"' in source, f"{code} is documented and never raised"


@pytest.mark.acceptance("L7")
def test_every_code_written_in_the_source_is_documented() -> None:
    written = {
        code
        for package in ("power_loop", "llm_client")
        for file in (ROOT / package).rglob("*.py")
        for code in re.findall(r'\bcode ?= ?"([a-z_]+\.[a-z_]+)"', file.read_text())
    }
    assert written <= set(documented())
