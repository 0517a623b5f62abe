"""A run of the process under test as the system calls it made on its files, in the order they happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.power import strace
from tests.power.agent import TYPED
from tests.power.scenario import Place, Scenario

_CALLS: Final = (
    "openat,open,creat,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,rmdir,"
    "copy_file_range,sendfile"
)
_OPTIONS: Final = (
    "--seccomp-bpf", "-qq", "-a1", "-xx", "-s", str(1 << 24), "-e", "signal=none", "-e", f"trace={_CALLS}",
)  # fmt: skip
_LINE: Final = re.compile(r"(\d+) +(.*)", re.DOTALL)
_WHOLE: Final = re.compile(r"(\w+)\((.*)\) += (-?\d+)[^\"]*", re.DOTALL)
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_PART: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|[^,\s"]+')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: texts among its arguments are bytes. `begun` and `ended` are places in the order of events."""

    name: str
    arguments: tuple[bytes | str, ...]
    result: int
    begun: int
    ended: int

    def path(self, at: int) -> str:
        found = self.arguments[at]
        assert isinstance(found, bytes), self
        return found.decode()

    def data(self, at: int) -> bytes:
        found = self.arguments[at]
        assert isinstance(found, bytes), self
        return found

    def number(self, at: int) -> int:
        return int(self.arguments[at])


def record(of: Scenario, place: Place, synchronous: str, fault: str | None = None) -> list[Call]:
    """Run a scenario to its end under strace; every call that succeeded and every failed flush, in order.

    `fault` is what strace injects, as its `inject=` says it. The process may then end with a typed error.
    """
    log = place.folder / "trace"
    place.folder.mkdir(parents=True, exist_ok=True)
    inject = [] if fault is None else ["-e", f"inject={fault}"]
    ended = strace.run(place, [of.name, str(of.seed), synchronous], [*_OPTIONS, *inject, "-o", str(log)])
    if ended.code and (fault is None or ended.code != TYPED):
        raise RuntimeError(f"the scenario {of.name} itself failed: {ended}")
    calls = sorted(_parsed(log), key=lambda call: call.begun)
    log.unlink()
    return calls


def _parsed(log: Path) -> Iterator[Call]:
    unfinished: dict[str, tuple[int, str]] = {}
    with log.open(encoding="ascii") as lines:
        for at, raw in enumerate(lines):
            line = _LINE.fullmatch(raw.rstrip("\n"))
            assert line, raw[:200]
            thread, text = line[1], line[2]
            begun = at
            if text.endswith("<unfinished ...>"):
                unfinished[thread] = at, text.removesuffix("<unfinished ...>").rstrip()
                continue
            if resumed := _RESUMED.fullmatch(text):
                begun, start = unfinished.pop(thread)
                text = start + resumed[1]
            if text.startswith(("+++", "---")):
                continue
            whole = _WHOLE.fullmatch(text)
            if whole is None:
                assert text.endswith("= ?"), text[:300]  # the process ended inside
                continue
            if int(whole[3]) >= 0 or whole[1] in ("fsync", "fdatasync"):
                yield Call(whole[1], tuple(_arguments(whole[2])), int(whole[3]), begun, at)


def _arguments(text: str) -> Iterator[bytes | str]:
    for part in _PART.finditer(text):
        assert part[2] is None, "strace cut a text short"
        yield part[0] if part[1] is None else bytes.fromhex(part[1].replace("\\x", ""))
