"""Running the process under test below strace."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.power.scenario import Place

_ROOT: Final = Path(__file__).parents[2]
INSTALL: Final = "apt-get install -y strace"


@functools.cache
def missing() -> str | None:
    """Why nothing can be traced here, with the way out; None where it can."""
    if sys.platform != "linux":
        return "strace is for Linux"
    if shutil.which("strace") is None:
        return f"strace is not installed: {INSTALL}"
    options = ["-f", "--seccomp-bpf", "-e", "inject=fdatasync:error=EIO:when=9", "-o", os.devnull]
    tried = subprocess.run(["strace", *options, "true"], capture_output=True, text=True)
    if tried.returncode:
        return (
            "strace cannot trace here (5.3 or later is needed; ptrace may be forbidden, which a container allows with "
            f"--cap-add=SYS_PTRACE): {tried.stderr.strip()[:200]}"
        )
    return None


@dataclass(frozen=True)
class Ended:
    """How the process ended: its exit code (minus a signal), and its output and errors."""

    code: int
    said: str
    errors: str


def run(place: Place, arguments: Sequence[str], options: Sequence[str], *, timeout: float = 120) -> Ended:
    """Run `tests.power.agent` under strace with these options, in a place.

    Raises:
        subprocess.TimeoutExpired: it hangs; it was killed.
    """
    place.files.mkdir(parents=True, exist_ok=True)
    with place.acknowledged.open("ab") as acknowledged:
        kind, seed, *rest = arguments
        agent = [sys.executable, "-m", "tests.power.agent", kind, seed, str(place.folder), str(acknowledged.fileno())]
        process = subprocess.Popen(
            ["strace", "-f", *options, *agent, *rest],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            pass_fds=[acknowledged.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # strace and what it traces: a session of their own
            process.communicate()
            raise
    return Ended(process.returncode, said, errors)
