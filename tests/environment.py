"""Virtual environments for tests that install something: the package as others get it, or a program of others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def made(folder: Path, *requirements: str) -> Path:
    """The `bin` of a fresh environment that holds these and what they need. The pip that installs is the tests' own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    # Of a large dependency few modules are ever imported; those are compiled then.
    install = ("--python", str(folder), "install", "--quiet", "--no-compile", *requirements)
    subprocess.run([*_PIP, *install], check=True, env=clean(), timeout=600)
    return folder / "bin"


def listed(folder: Path) -> set[str]:
    """The names of what an environment holds."""
    command = [*_PIP, "--python", str(folder), "list", "--format=freeze"]
    said = subprocess.run(command, check=True, env=clean(), capture_output=True, text=True, timeout=600).stdout
    return {line.split("==")[0].lower().replace("_", "-") for line in said.splitlines()}


def cloned(folder: Path) -> Path:
    """A copy of what a clone of this project holds, so that building leaves nothing in the checkout."""
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
    return Path(shutil.copytree(ROOT, folder, ignore=ignored))


def clean() -> dict[str, str]:
    """The environment without whatever would let another program see the checkout, or the tests that run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
