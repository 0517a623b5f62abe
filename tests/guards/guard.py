"""One guard of the product, and how to take it out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A check that a promise rests on, with the patch that removes it and the test that must fail then."""

    name: str
    keeps: str
    """What is true because of it, in one sentence."""
    of: str
    """The promises (bare numbers, DESIGN section 2) and acceptance rows it serves."""
    file: str
    old: str
    new: str
    also: tuple[tuple[str, str], ...] = ()
    """Further replacements in the same file that belong to the removal."""
    test: str
    """The test that must fail without it, as a pytest node id; of a redundant guard, a test that runs through it."""
    redundant: str | None = None
    """Why nothing can fail without it: its removal must go unnoticed, or this reason is wrong."""
    needs: str | None = None
    """A program without which the test is skipped: where that, or the test's file, is missing, it is not tried."""

    @property
    def runs(self) -> bool:
        if self.needs is None:
            return True
        return shutil.which(self.needs) is not None and (ROOT / self.test.partition("::")[0]).is_file()

    def without(self, source: str) -> str:
        """The source of `file` without the guard.

        Raises:
            LookupError: the text to replace is not there exactly once: the table is out of date.
        """
        for old, new in ((self.old, self.new), *self.also):
            found = source.count(old)
            if found != 1:
                raise LookupError(f"guard {self.name}: {old!r} is {found} times in {self.file}, not once")
            source = source.replace(old, new)
        return source
