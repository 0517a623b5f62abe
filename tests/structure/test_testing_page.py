"""docs/testing.md is true: its twenty lines run as pasted, its command is the kit's."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from power_loop.testing.crash import WAYS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the page's code."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_shop.py").write_text(code)
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.acceptance("A1", "B2", "B3", "D1")
def test_the_twenty_lines_run_as_pasted(shop: Path) -> None:
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"], shop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


CHECK = """
def check(found):
    if len(found.remote.effects) > 1:
        yield f"charged {len(found.remote.effects)} times"

"""


def test_a_broken_shop_fails_with_the_command_that_repeats_it(shop: Path) -> None:
    """The same lines, but the tool may be repeated and does not hand its key on; a check of the app's own counts."""
    code = (shop / "test_shop.py").read_text()
    for old, new in (
        ("@tool\n", '@tool(effect="idempotent")\n'),
        ("key=context.idempotency_key", 'key=f"{context.call_id} {context.attempt}"'),
        ("work=work)", "work=work, check=check)"),
        ("shop = ", f"{CHECK}shop = "),
    ):
        assert code.count(old) == 1
        code = code.replace(old, new)
    (shop / "test_shop.py").write_text(code)
    command = [sys.executable, "-m", "power_loop.testing.crash", "test_shop:shop", "--way", "resume"]
    done = run([*command, "--kill", "tool.charge.ended:1"], shop)
    assert done.returncode == 1, done.stdout
    assert "charged 2 times" in done.stderr
    assert "--way resume --kill tool.charge.ended:1" in done.stderr


def test_the_command_on_the_page_is_the_kits(shop: Path) -> None:
    (line,) = re.findall(r"<!-- sweep-command -->\n```\n(.*)\n```", PAGE)
    done = run([sys.executable, *shlex.split(line)[1:]], shop)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().rpartition("\n")[2].startswith("ok test_shop:shop, seed 7")


def test_every_way_is_on_the_page() -> None:
    assert [way for way in WAYS if f"`{way}`" not in PAGE] == []
