"""The crash contract: every promise has tests, and every test and command it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "CRASH-CONTRACT.md"
DESIGN = ROOT.parent / "shared" / "DESIGN.md"

PROMISES = range(1, 13)
ACCEPTANCE = {
    "A1", "A2", "A3", "A6", "A7", "A9", "B1", "B2", "B3", "B4", "B5", "B9", "B10", "C6", "D1", "D2", "D3", "L6",
}  # fmt: skip
"""What the contract page is to show, by the numbers of the acceptance list."""


def sections() -> dict[int, tuple[str, str]]:
    """Title and text of each promise."""
    found = re.split(r"^## (\d+)\. (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = {
        int(number): (title, text.split("\n## ")[0])
        for number, title, text in zip(found[::3], found[1::3], found[2::3], strict=True)
    }
    assert len(texts) == len(found) // 3, "a promise has two sections"
    return texts


def named(text: str) -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", text)


def marks(node: str) -> set[str]:
    """The acceptance numbers of a test: its own, its class's, its module's."""
    path, _, name = node.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [
        function
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name == name
    ]
    assert functions, f"{node} does not exist"
    whole = [item.value for item in tree.body if isinstance(item, ast.Assign) and _is_pytestmark(item)]
    found: set[str] = set()
    for mark in [*functions[0].decorator_list, *whole]:
        for call in ast.walk(mark):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "acceptance":
                found |= {str(arg.value) for arg in call.args if isinstance(arg, ast.Constant)}
    return found


def _is_pytestmark(item: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in item.targets)


@pytest.mark.parametrize("number", PROMISES)
def test_every_promise_says_how_it_could_break_and_which_tests_show_that_it_does_not(number: int) -> None:
    title, text = sections()[number]
    assert "**It would break if**" in text, title
    assert len(named(text)) >= 2, title
    for node in named(text):
        marks(node)


def test_there_are_no_other_promises() -> None:
    assert list(sections()) == list(PROMISES)


def test_the_promises_are_those_of_the_readme() -> None:
    readme = re.findall(r"^(\d+)\. \*\*(.+?)\*\*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {int(number): title.rstrip(".") for number, title in readme} == {
        number: title for number, (title, _) in sections().items()
    }


@pytest.mark.skipif(not DESIGN.exists(), reason="the design stands beside the project, not in it")
def test_the_promises_are_those_of_the_design() -> None:
    text = DESIGN.read_text(encoding="utf-8").split("## 2. The promises")[1].split("## 3.")[0]
    assert [int(number) for number in re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE)] == list(PROMISES)


def test_the_tests_of_the_contract_show_every_behaviour_it_is_to_hold() -> None:
    shown: set[str] = set()
    for _, text in sections().values():
        for node in named(text):
            shown |= marks(node)
    assert shown >= ACCEPTANCE, sorted(ACCEPTANCE - shown)


def test_every_command_of_the_page_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ((?:tests|power_loop)[\w.]*)", text))
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
