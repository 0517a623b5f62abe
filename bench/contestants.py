"""The driver's hold on the contestants' processes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.peers import Peer, peer
from bench.plan import Plan
from bench.venvs import environment_of, python_of

PATIENCE: Final = 300.0
"""Seconds a command may take."""
VERSIONS: Final[dict[str, dict[str, str]]] = {}
"""What each contestant that was opened runs on."""
PRAGMAS: Final[dict[str, dict[str, str]]] = {}
"""The journal of each contestant's databases."""


class FailedError(Exception):
    """A contestant could not do as it was told; says what it said."""


class Contestant:
    """One contestant's process. Driven by one coroutine."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.kind: type[Peer] = peer(name)
        self.folder = folder
        self.opened: dict[str, Any] = {}
        self._log = folder.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(
        self,
        url: str | None,
        histories: Sequence[int] = (),
        *,
        wrapper: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        """Start the process and open the contestant."""
        self.folder.mkdir(exist_ok=True)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *wrapper,
                *(str(python_of(self.kind)), "-m", "bench.host", self.name),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env={**environment_of(self.kind), **(variables or {})},
                limit=1 << 24,
                pass_fds=fds,
            )
        await self._answer()
        self.opened = await self.tell("open", folder=str(self.folder), url=url, histories=list(histories))
        VERSIONS[self.name] = self.opened["versions"]

    async def tell(self, do: str, **more: Any) -> dict[str, Any]:
        """Give a command and wait for what it found.

        Raises:
            FailedError: it said no, died, or took too long.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # if it died, the answer tells
            self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._answer()

    async def run(self, sessions: Sequence[int], turns: int) -> dict[str, Any]:
        return await self.tell("run", sessions=list(sessions), turns=turns)

    async def close(self) -> dict[str, Any]:
        """Close the contestant; what its files hold. Its folder is emptied."""
        said = await self.tell("close")
        PRAGMAS.setdefault(self.name, {}).update(said["pragmas"])
        await self.end()
        return said

    async def end(self) -> None:
        """End the process, if there is one, and remove what it wrote."""
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        except TimeoutError:
            self._process.kill()
            raise FailedError(f"took more than {PATIENCE:.0f} s") from None
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise FailedError(f"ended; its last words: {said[-1][:200]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer


@asynccontextmanager
async def scratch(plan: Plan) -> AsyncIterator[Path]:
    """A folder on the disk to be measured, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="power-loop-bench-", dir=plan.folder) as folder:
        yield Path(folder)


@asynccontextmanager
async def entered(
    plan: Plan, names: Sequence[str], url: str | None, histories: Sequence[int] = ()
) -> AsyncIterator[list[Contestant]]:
    """Those of the named that take part and can, opened, in processes of their own; they end with the block.

    Whoever fails to open is noted in `plan.absent`, with what it said.
    """
    async with scratch(plan) as folder:
        present: list[Contestant] = []
        try:
            for name in names:
                if name in plan.absent or name not in plan.peers:
                    continue
                contestant = Contestant(name, folder / name)
                try:
                    await contestant.start(url, histories)
                except FailedError as error:
                    plan.absent[name] = str(error)
                    print(f"  {name} cannot take part: {error}", flush=True)
                    await contestant.end()
                else:
                    present.append(contestant)
            yield present
        finally:
            for contestant in present:
                await contestant.end()
