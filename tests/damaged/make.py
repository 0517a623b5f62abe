"""`python -m tests.damaged.make FOLDER [RULE]`: a damaged database a rule, as FOLDER/RULE/agent.db."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.damaged.damage import Damage
from tests.damaged.files import FILES
from tests.damaged.sql import CHECKSUMS, INVARIANTS
from tests.store import sample

CORPUS: Final[Mapping[str, Damage]] = {damage.name: damage for damage in (*INVARIANTS, *CHECKSUMS, *FILES)}


def sound(folder: Path) -> Path:
    """A database that the real code wrote: everything in one file, which only its owner may read."""
    folder.mkdir(parents=True, exist_ok=True)
    path = asyncio.run(sample.write(folder))
    path.chmod(0o600)
    return path


def damaged(original: Path, folder: Path, damage: Damage) -> Path:
    folder.mkdir(parents=True)
    path = folder / "agent.db"
    path.touch(0o600)
    path.write_bytes(original.read_bytes())
    damage.do(path)
    return path


def main() -> None:
    folder, rules = Path(sys.argv[1]), sys.argv[2:] or list(CORPUS)
    original = sound(folder / "sound")
    for rule in rules:
        print(damaged(original, folder / rule, CORPUS[rule]))


if __name__ == "__main__":
    main()
