"""docs/context.md: its strategy works, and its table is the one there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from power_loop.compaction.words import STRATEGIES
from tests.compaction.kit import History

PAGE = (Path(__file__).parents[2] / "docs/context.md").read_text()


def test_every_strategy_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(\w+)`.* \| `", PAGE, re.MULTILINE)) == set(STRATEGIES)


def test_a_strategy_of_ones_own_is_as_short_as_the_page_says() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class HalfOfIt" in block)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/context.md", "exec"), names)
    history = History()
    for number in range(8):
        history.add("user", f"question {number} " * 20)
        history.add("assistant", f"answer {number} " * 20)
    tried = history.climb([names["HalfOfIt"]()], target=100)
    assert tried.compaction is not None
    assert len(tried.compaction.folded) == 7
