"""What all tests share: Hypothesis without deadlines (machines are noisy), in CI with the same examples on every run;
both transports of the model client."""

from __future__ import annotations

import os
from typing import Any, get_args

import pytest
from hypothesis import settings

from llm_client import OpenAIChatService
from llm_client.settings import Transport

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(params=get_args(Transport))
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs once over each transport: services that it builds without naming one get this one."""
    name: str = request.param
    defaults: dict[str, Any] = OpenAIChatService.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "transport", name)
    return name
