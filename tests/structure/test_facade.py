"""The package's own page: each public name comes from where it lives, when it is first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import power_loop

PAGE = ast.parse(Path(power_loop.__file__).read_text())


def test_what_type_checkers_see_is_what_there_is() -> None:
    seen = {
        alias.name: node.module
        for node in ast.walk(PAGE)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(("power", "llm_"))
        for alias in node.names
    }
    assert seen == power_loop._PLACES
    assert sorted(seen) == sorted(power_loop.__all__)
    for name, home in seen.items():
        assert getattr(power_loop, name) is getattr(import_module(home), name)
    assert {path.stem for path in Path(power_loop.__file__).parent.iterdir()} >= set(power_loop._PARTS)
    assert {*power_loop.__all__, "__version__"} <= set(dir(power_loop))


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        power_loop.nothing  # noqa: B018


def test_importing_it_imports_what_is_used_and_no_more() -> None:
    code = (
        "import sys, power_loop\n"
        "assert not {'pydantic', 'sqlite3', 'asyncio', 'openai', 'llm_client'} & set(sys.modules), sys.modules\n"
        "from power_loop import *\n"
        "StatefulAgentLoop, tool, OpenAIChatService\n"
        "assert not {'openai', 'httpx2', 'stamina', 'click', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
