"""What of a process's writes is on the disk after a power cut.

A write or truncation is durable once a flush of its file that began after it has ended; a name once a flush of its
folder has. Of the rest any part may survive: whole writes or single sectors, in any order; names one by one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final, TypeAlias

from tests.power.recording import Call

SECTOR: Final = 512
PAGE: Final = 4096
Survives: TypeAlias = Callable[[], bool]


@dataclass(slots=True, eq=False)
class Change:
    """A write at an offset, or, without data, the file cut to that length."""

    at: int
    data: bytes | None
    ended: int


@dataclass(slots=True, eq=False)
class File:
    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Change] = field(default_factory=list)

    def flushed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            _apply(self.durable, change)
        self.failed(changes)

    def failed(self, changes: Sequence[Change]) -> None:
        """A flush that failed: no later one makes up for it, as the kernel takes these writes for done."""
        gone = set(map(id, changes))
        self.waiting = [change for change in self.waiting if id(change) not in gone]


@dataclass(slots=True, eq=False)
class Naming:
    """A name of a folder that comes to stand for a file, or for none."""

    names: dict[str, File | None]
    ended: int


@dataclass(slots=True, eq=False)
class Folder:
    durable: dict[str, File] = field(default_factory=dict)
    now: dict[str, File] = field(default_factory=dict)
    waiting: list[Naming] = field(default_factory=list)

    def rename(self, names: dict[str, File | None], ended: int) -> None:
        self.waiting.append(Naming(names, ended))
        _name(self.now, names)

    def flushed(self, namings: Sequence[Naming]) -> None:
        for naming in namings:
            _name(self.durable, naming.names)
        self.failed(namings)

    def failed(self, namings: Sequence[Naming]) -> None:
        gone = set(map(id, namings))
        self.waiting = [naming for naming in self.waiting if id(naming) not in gone]


@dataclass(frozen=True)
class After:
    """What is there after a cut: the files of the folder; what was told outside before it."""

    files: dict[str, bytes]
    acknowledged: bytes
    ledger: bytes


class Disk:
    """One folder of a machine whose power may go at any moment; `play` the calls in order, and look between.

    `base` are the files that are there at the beginning, on the disk for good. Memory shared between processes (`-shm`)
    is no file here: it does not outlive the machine. A disk that `lies` says that it flushed, and did not.
    """

    def __init__(
        self, folder: Path, ledger: Path, acknowledgements: int, base: dict[str, bytes], *, lies: bool = False
    ) -> None:
        self._made_of = (folder, ledger, acknowledgements, base)
        self._lies = lies
        self._where = str(folder)
        self._ledger_path = str(ledger)
        self._folder = Folder()
        for name, raw in base.items():
            self._folder.durable[name] = self._folder.now[name] = File(bytearray(raw))
        self._open: dict[int, File | Folder | bytearray] = {}
        self._told = bytearray()
        self._ledger = bytearray()
        self._open[acknowledgements] = self._told

    def unplayed(self) -> Disk:
        """The same, before anything happened."""
        return Disk(*self._made_of, lies=self._lies)

    @property
    def acknowledged(self) -> bool:
        return bool(self._told)

    def play(self, calls: Sequence[Call]) -> Iterator[str]:
        """Let everything happen, and stop before each moment that matters, to be cut there; what comes next."""
        moments = [(call.begun, 0, call) for call in calls] + [(call.ended, 1, call) for call in calls]
        flushing: dict[int, list[Change] | list[Naming]] = {}
        for at, ending, call in sorted(moments, key=lambda moment: moment[:2]):
            match call.name, ending:
                case "openat", 1:
                    self._opened(call)
                case "close", 0:
                    self._open.pop(call.number(0), None)
                case (("dup" | "dup2" | "dup3"), 1):
                    assert call.number(0) not in self._open, f"a descriptor was copied: {call.name}"
                case (("fsync" | "fdatasync"), _):
                    there = self._open.get(call.number(0))
                    if not isinstance(there, File | Folder):
                        continue
                    yield f"{call.name} {'ended' if ending else 'began'}"
                    if not ending:
                        flushing[call.begun] = [change for change in there.waiting if change.ended < at]  # type: ignore[assignment]
                    else:
                        covered = flushing.pop(call.begun)
                        if call.result < 0:
                            there.failed(covered)  # type: ignore[arg-type]
                        elif not self._lies:
                            there.flushed(covered)  # type: ignore[arg-type]
                case (("write" | "pwrite64" | "ftruncate"), 0):
                    there = self._open.get(call.number(0))
                    if there is not None:
                        yield call.name
                        self._written(there, call)
                case (("link" | "rename" | "unlink"), 0):
                    names = self._named(call)
                    if names:
                        yield call.name
                        self._folder.rename(names, call.ended)
                case (("mkdir" | "rmdir"), _):
                    pass  # the owners' folder: nobody of it lives after a cut
                case name, 0 if name not in ("openat", "close", "dup", "dup2", "dup3"):
                    self._unknown(call)
        yield "the end"

    def cut(self, chance: random.Random) -> After:
        """One way in which the power may go now."""
        names = dict(self._folder.durable)
        for naming in _surviving(self._folder.waiting, chance):
            _name(names, naming.names)
        files = {name: bytes(_torn(file, chance)) for name, file in names.items()}
        return After(files=files, acknowledged=bytes(self._told), ledger=bytes(self._ledger))

    def _opened(self, call: Call) -> None:
        path, flags = call.path(1), str(call.arguments[2])
        if path == self._where:
            self._open[call.result] = self._folder
        elif path == self._ledger_path:
            self._open[call.result] = self._ledger
        elif (name := self._inside(path)) is not None and "O_DIRECTORY" not in flags:
            if name not in self._folder.now:
                self._folder.rename({name: File()}, call.ended)
            there = self._folder.now[name]
            if "O_TRUNC" in flags:
                there.waiting.append(Change(0, None, call.ended))
            self._open[call.result] = there

    def _written(self, there: File | Folder | bytearray, call: Call) -> None:
        if isinstance(there, bytearray):  # the world outside: it saw it
            there += call.data(1)
        elif isinstance(there, File) and call.name == "pwrite64":
            data = call.data(1)
            assert len(data) == call.result, "a short write"
            there.waiting.append(Change(call.number(3), data, call.ended))
        elif isinstance(there, File) and call.name == "ftruncate":
            there.waiting.append(Change(call.number(1), None, call.ended))
        else:
            self._unknown(call)

    def _named(self, call: Call) -> dict[str, File | None]:
        names = [self._inside(call.path(at)) for at in range(1 if call.name == "unlink" else 2)]
        if names == [None] * len(names):
            return {}
        if call.name == "unlink":
            return {str(names[0]): None}
        old, new = map(str, names)
        there = self._folder.now[old]
        return {new: there} if call.name == "link" else {old: None, new: there}

    def _inside(self, path: str) -> str | None:
        pure = PurePath(path)
        return pure.name if str(pure.parent) == self._where and not pure.name.endswith("-shm") else None

    def _unknown(self, call: Call) -> None:
        """A call this model does not know must not go unnoticed where it is about our files."""
        paths = [part.decode("utf-8", "replace") for part in call.arguments if isinstance(part, bytes)]
        number = call.arguments[0] if call.arguments else ""
        ours = isinstance(number, str) and number.isdigit() and isinstance(self._open.get(int(number)), File | Folder)
        if ours or any(path.startswith(f"{self._where}/agent") for path in paths):
            raise NotImplementedError(f"there is no model of {call}")


def _surviving(namings: Sequence[Naming], chance: random.Random) -> Sequence[Naming]:
    match chance.randrange(3):
        case 0:
            return []
        case 1:
            return namings[: chance.randint(0, len(namings))]
    return [naming for naming in namings if chance.random() < 0.5]


def _torn(file: File, chance: random.Random) -> bytearray:
    content = bytearray(file.durable)
    changes = file.waiting
    way = chance.choice(("nothing", "all", "first", "some", "sectors", "pages"))
    if way == "nothing" or not changes:
        return content
    if way == "first":
        changes = changes[: chance.randint(1, len(changes))]
    share = chance.choice((0.1, 0.5, 0.9))
    for nth, change in enumerate(changes, 1):
        if way == "all" or (way == "first" and nth < len(changes)):
            _apply(content, change)
        elif way == "some" or change.data is None:
            if chance.random() < share:
                _apply(content, change)
        else:
            _some_of(content, change, PAGE if way == "pages" else SECTOR, lambda: chance.random() < share)
    if way in ("sectors", "pages") and chance.random() < 0.3:  # the length is on the disk, the data is not
        longest = max((c.at + len(c.data) for c in changes if c.data is not None), default=0)
        content.extend(bytes(max(0, longest - len(content))))
    return content


def _some_of(content: bytearray, change: Change, block: int, survives: Survives) -> None:
    assert change.data is not None
    at, end = change.at, change.at + len(change.data)
    while at < end:
        until = min(end, at - at % block + block)
        if survives():
            _apply(content, Change(at, change.data[at - change.at : until - change.at], 0))
        at = until


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        del content[change.at :]
        content.extend(bytes(change.at - len(content)))
        return
    end = change.at + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[change.at : end] = change.data


def _name(names: dict[str, File], naming: dict[str, File | None]) -> None:
    for name, file in naming.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
