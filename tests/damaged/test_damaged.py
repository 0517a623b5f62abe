"""`doctor` explains every damaged database: what, where, the way out; never a traceback, never a write."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from power_loop.cli import main
from power_loop.cli.exits import Exit
from power_loop.store.port import statements
from power_loop.store.sqlite.doctor import Grade, examine
from power_loop.store.sqlite.doctor.invariants import INVARIANTS
from tests.damaged.damage import Damage, reseal
from tests.damaged.make import CORPUS, damaged, sound

ROOT = Path(__file__).parents[2]
NAMES = [invariant.name for invariant in INVARIANTS]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound(tmp_path_factory.mktemp("sound"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert err == ""
    assert isinstance(ended.value.code, int)
    return ended.value.code, out


def files(folder: Path) -> dict[str, bytes]:
    """All but the empty log that SQLite leaves beside a file it reads."""
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and not entry.name.endswith("-shm") and (entry.stat().st_size or entry.suffix == ".db")
    }


def graded(checks: list[dict[str, Any]], grade: str) -> set[str]:
    return {check["name"] for check in checks if check["grade"] == grade}


@pytest.mark.acceptance("A7", "A9", "L5")
@pytest.mark.parametrize("damage", CORPUS.values(), ids=lambda damage: damage.name)
def test_every_damage_is_explained(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    path = damaged(original, tmp_path / "home", damage)
    before = files(path.parent)
    code, out = said(capsys, "doctor", "--json", "--db", str(path))
    answer = json.loads(out)
    bad = graded(answer["checks"], "bad")
    expected = {*damage.also} if damage.warns else {damage.rule, *damage.also}
    expected |= {"consistency"} if expected & {*NAMES} else set()
    assert bad == expected
    assert (code, answer["healthy"]) == ((Exit.UNWELL, False) if bad else (Exit.OK, True))
    (found,) = [check for check in answer["checks"] if check["name"] == damage.rule]
    assert found["grade"] == ("warn" if damage.warns else "bad")
    assert found["way_out"]
    assert found["code"] == damage.code
    told = [found["words"], *(spot["what"] for spot in found["spots"])]
    assert any(damage.words in what for what in told), told
    if damage.session is not None:
        assert (damage.session, damage.seq) in [(spot["session"], spot["seq"]) for spot in found["spots"]]
        assert {spot["session"] for spot in found["spots"]} == {damage.session}

    code, out = said(capsys, "doctor", "--db", str(path))
    assert code == (Exit.UNWELL if bad else Exit.OK)
    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.split()[1:2] == [damage.rule])
    assert lines[at].split()[0] == found["grade"]
    assert any(line.strip().startswith("=> ") for line in lines[at:])
    assert "Traceback" not in out
    assert files(path.parent) == before


def test_a_sound_database_has_nothing_bad(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "doctor", "--json", "--db", str(original))
    checks = json.loads(out)["checks"]
    assert (code, graded(checks, "bad")) == (0, set())
    # A dead owner and sessions that wait are no damage; nor is the SQLite of this Python.
    assert graded(checks, "warn") - {"sqlite"} == {"owners", "attention"}
    (consistency,) = [check for check in checks if check["name"] == "consistency"]
    assert consistency["words"] == f"all {len(NAMES)} invariants hold"


def test_making_checksums_right_changes_nothing_of_a_sound_database(original: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(original.read_bytes())
    reseal(copy)
    nothing = Damage(name="nothing", rule="", do=lambda path: None)
    again = damaged(copy, tmp_path / "again", nothing)
    assert rows(again) == rows(original)


def rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_every_invariant_is_one_query_one_line_and_one_database() -> None:
    queries = [name.removeprefix("invariant_") for name in statements("sqlite") if name.startswith("invariant_")]
    assert sorted(queries) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    assert {damage.rule for damage in CORPUS.values()} >= set(NAMES)
    for invariant in INVARIANTS:
        assert invariant.holds
        assert invariant.way_out


def test_every_finding_is_in_the_documentation() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    for invariant in INVARIANTS:
        assert rows.get(invariant.name) == invariant.holds
    assert {damage.rule for damage in CORPUS.values()} <= set(rows)


def test_the_way_out_of_a_lying_index_leads_out(original: Path, tmp_path: Path) -> None:
    path = damaged(original, tmp_path / "home", CORPUS["lying_index"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("REINDEX")
    assert [finding for finding in examine(path) if finding.grade is Grade.BAD] == []
    assert rows(path) == rows(original)


def test_the_script_makes_the_databases(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.damaged.make", str(tmp_path / "made"), "protocol", "damaged_page"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    made = [Path(line) for line in done.stdout.splitlines()]
    assert [path.parent.name for path in made] == ["protocol", "damaged_page"]
    assert all(path.is_file() for path in made)


AS_NOBODY = """
import os, sys
from power_loop.cli import main
from power_loop.store.port import statements
statements("sqlite")  # nobody may not read this Python's own library
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[1:])
"""


@pytest.fixture
def public(original: Path) -> Iterator[Path]:
    """A database of a user without rights (ours, if we are one), in a folder that others can reach."""
    folder = Path(tempfile.mkdtemp())
    owner = 65534 if os.getuid() == 0 else os.getuid()
    path = folder / "agent.db"
    path.touch(0o600)
    path.write_bytes(original.read_bytes())
    for place in (folder, path):
        os.chown(place, owner, -1)
    yield path
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.acceptance("A7")
@pytest.mark.parametrize(
    ("file", "folder", "code"),
    [
        (0o000, 0o700, "store.open"),
        (0o600, 0o000, "store.open"),
        (0o600, 0o500, "store.read_only"),
        (0o600, 0o700, None),
    ],
    ids=["unreadable file", "closed folder", "read-only folder", "all is well"],
)
def test_what_may_not_be_read_is_said_so(public: Path, file: int, folder: int, code: str | None) -> None:
    public.chmod(file)
    public.parent.chmod(folder)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "doctor", "--json", "--db", str(public)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    opens = json.loads(done.stdout)["checks"][0]
    assert (opens["name"], opens["code"]) == ("opens", code)
    assert done.returncode == (Exit.OK if code is None else Exit.UNWELL)
    assert (opens["way_out"] is None) == (code is None)
