"""Environments for contestants that need packages of their own, under `.bench/`, made by name and version with pip."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.peers import Peer, peer

ROOT: Final = Path(__file__).resolve().parent.parent
OTHERS_SETTINGS: Final = ("OPENAI_", "POWER_LOOP_", "LANGSMITH_", "LANGCHAIN_", "DBOS_", "LOGFIRE_")
"""Variables that contestants read: none is to be traced, or to talk to anybody, because of the shell it is run from."""
PLACE: Final = ROOT / ".bench"


class UnavailableError(Exception):
    """A contestant cannot take part; says why."""


def python_of(kind: type[Peer]) -> Path:
    """The interpreter a contestant runs with."""
    return _folder(kind.packages) / "bin" / "python" if kind.packages else Path(sys.executable)


def environment_of(kind: type[Peer]) -> dict[str, str]:
    """The environment variables of its process.

    Others find `bench` through a link, in a folder where there is nothing else: with the checkout itself on their path
    they would find our package in place of the release that they are to run.
    """
    home = ROOT if not kind.packages else _link()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS_SETTINGS)}
    return {**kept, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


async def ready(names: Iterable[str]) -> dict[str, str]:
    """Make what is missing; which contestants cannot take part, and why."""
    absent = {}
    for name in names:
        try:
            await _make(peer(name).packages)
        except UnavailableError as error:
            absent[name] = str(error)
    return absent


async def _make(packages: tuple[str, ...]) -> None:
    folder = _folder(packages)
    stamp = folder / "bench.json"
    wanted = json.dumps([*packages, sys.version])
    if not packages or (stamp.exists() and stamp.read_text() == wanted):
        return
    print(f"making an environment for {', '.join(packages)}", flush=True)
    await asyncio.to_thread(venv.create, folder, clear=True, with_pip=True)
    process = await asyncio.create_subprocess_exec(
        str(folder / "bin" / "python"),
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        wrong = [line for line in said.decode().splitlines() if line.startswith("ERROR")]
        raise UnavailableError(f"pip could not install {', '.join(packages)}: {(wrong or ['?'])[-1][:200]}")
    stamp.write_text(wanted)


def _folder(packages: tuple[str, ...]) -> Path:
    return PLACE / "-".join(name.replace("==", "-").replace("[", "-").replace("]", "") for name in packages[:1])


def _link() -> Path:
    place = PLACE / "lib"
    place.mkdir(parents=True, exist_ok=True)
    link = place / "bench"
    if not link.is_symlink():
        link.symlink_to(Path(os.pardir, os.pardir, "bench"), target_is_directory=True)
    return place
