"""The house: imports only point down, in no circle, and nothing is imported inside a function but optional clients."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS: list[set[str]] = [
    {"llm_client"},
    {"power_loop.errors"},
    {"power_loop.values", "power_loop.shielding", "power_loop.threads"},
    {"power_loop.transcript"},
    {"power_loop.compaction", "power_loop.rules"},
    {"power_loop.config"},
    {"power_loop.engine"},
    {"power_loop.store"},
    {"power_loop.sink"},
    {"power_loop.tools", "power_loop.events", "power_loop.hooks"},
    {"power_loop.loop"},
    {"power_loop.stateful_loop"},
    {"power_loop"},
    {"power_loop.testing"},
    {"power_loop.cli"},
    {"power_loop.__main__"},
]
"""From the bottom up; a module may import from its own entry and from entries of lower layers."""

LATE_IMPORTS = {
    # The openai client takes 0.6 to 1.3 s to import: a model pays for it, nobody else.
    ("llm_client", "openai"),
    ("llm_client", "llm_client"),  # the module that builds on it
    # The price list is an extra, and takes 0.1 s to import: whoever asks for prices pays for it.
    ("power_loop.rules", "genai_prices"),
    # OpenTelemetry is an extra: the module that builds on it is imported once a sink of it is built.
    ("power_loop.sink", "power_loop"),
    # Tables and colours are for terminals only.
    ("power_loop.cli", "rich"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("llm_client", "power_loop"):
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def entry_of(module: str) -> str | None:
    """The entry of LAYERS a module belongs to."""
    parts = module.split(".")
    for size in (2, 1):
        name = ".".join(parts[:size])
        if any(name in layer for layer in LAYERS):
            return name
    return None


def imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Each module imported, and whether that happens inside a function."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            yield node.module, id(node) in inside
            # `from package import module` names a module too.
            for alias in node.names:
                if (ROOT / node.module.replace(".", "/") / f"{alias.name}.py").is_file():
                    yield f"{node.module}.{alias.name}", id(node) in inside


def height(entry: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if entry in layer)


@pytest.mark.parametrize(("module", "file"), [pytest.param(*item, id=item[0]) for item in modules()])
def test_imports_point_down(module: str, file: Path) -> None:
    own = entry_of(module)
    assert own is not None, f"{module} has no place in the layers"
    for name, _ in imported(ast.parse(file.read_text())):
        other = entry_of(name)
        if other is None or other == own:
            continue
        assert height(other) < height(own), f"{module} imports {name}, which stands above it or beside it"


def test_no_circles_of_modules() -> None:
    known = dict(modules())
    graph = {
        module: {name for name, _ in imported(ast.parse(file.read_text())) if name in known and name != module}
        for module, file in known.items()
    }
    # A package's own `__init__` gathers its modules; that they stand in it is no circle.
    for module, targets in graph.items():
        targets -= {name for name in targets if module.startswith(f"{name}.")}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(("module", "file"), [pytest.param(*item, id=item[0]) for item in modules()])
def test_nothing_is_imported_inside_a_function_but_optional_clients(module: str, file: Path) -> None:
    own = entry_of(module)
    for name, late in imported(ast.parse(file.read_text())):
        if late:
            assert (own, name.split(".")[0]) in LATE_IMPORTS, f"{module} imports {name} inside a function"


def test_only_values_reads_the_clock() -> None:
    for module, file in modules():
        if module in ("power_loop.values", "power_loop.testing") or module.startswith(
            ("llm_client", "power_loop.testing")
        ):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                assert called not in ("datetime.now", "datetime.utcnow", "time.time"), f"{module} reads the clock"


def test_sql_is_only_known_to_the_store() -> None:
    for module, file in modules():
        if module.startswith(("power_loop.store", "power_loop.testing.crash")):
            continue  # the kill sweep reads what it judges with eyes of its own
        names = {name.split(".")[0] for name, _ in imported(ast.parse(file.read_text()))}
        assert not names & {"sqlite3", "aiosqlite"}, f"{module} knows SQLite"


def test_files_stay_small() -> None:
    long = {module: lines for module, file in modules() if (lines := len(file.read_text().splitlines())) > 400}
    assert not long, "files over the ceiling want to be two"
