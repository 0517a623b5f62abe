"""F3: settings from arguments or the environment, all that is missing named at once, secrets shown nowhere."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from typing import Any

import pytest

from llm_client import OpenAIChatService
from llm_client.errors import ModelError, ModelSettingsError
from llm_client.lanes import Lanes
from llm_client.service import ChatRequest
from power_loop.testing import Reply, ScriptedServer

pytestmark = pytest.mark.acceptance("F3")

KEY = "sk-very-secret-0123456789"
ASK = ChatRequest(messages=(json.dumps({"role": "user", "content": "hi"}),))
NAMES = [prefix + name for prefix in ("POWER_LOOP_", "OPENAI_") for name in ("MODEL", "BASE_URL", "API_KEY")]
NAMES += ["POWER_LOOP_TRANSPORT"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_everything_that_is_missing_is_named_at_once_with_the_ways_to_give_it() -> None:
    with pytest.raises(ModelSettingsError) as caught:
        OpenAIChatService()
    told = str(caught.value)
    for word in ("model=", "POWER_LOOP_MODEL", "OPENAI_MODEL", "api_key=", "POWER_LOOP_API_KEY", "OPENAI_API_KEY"):
        assert word in told
    assert caught.value.code == "model.settings"


@pytest.mark.parametrize(("given", "missing"), [("model", "API key"), ("api_key", "a model")])
def test_only_what_is_missing_is_named(given: Any, missing: str) -> None:
    with pytest.raises(ModelSettingsError, match=missing) as caught:
        OpenAIChatService(**{given: "something"})
    assert str(caught.value).count("is missing") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "localhost:8080"},
        {"base_url": "ftp://x/v1"},
        {"base_url": "http://[::1/v1"},
        {"base_url": "http://x:99999/v1"},
        {"base_url": "http://user:pass-word@x/v1"},
        {"base_url": "http://x/v1?key=pass-word"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"connect_timeout": -1},
        {"total_timeout": float("inf")},
        {"backoff": True},
        {"attempts": 0},
        {"attempts": 1.5},
        {"api_key": "schlüssel"},
        {"api_key": "two words"},
        {"transport": "carrier pigeon"},
        {"transport": None},
    ],
)
def test_what_cannot_work_is_refused_before_any_request(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelSettingsError) as caught:
        OpenAIChatService(**{"model": "m", "api_key": "k"} | wrong)
    assert str(wrong.get("api_key", "\0")) not in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_all_that_is_wrong_is_in_one_message() -> None:
    with pytest.raises(ModelSettingsError) as caught:
        OpenAIChatService(base_url="x", timeout=0, attempts=0)
    for word in ("a model", "an API key", "base_url", "timeout=0", "attempts=0"):
        assert word in str(caught.value)


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "http://from-the-environment/v1")
    with pytest.raises(ModelSettingsError, match=r"a model is missing.*an API key is missing"):
        OpenAIChatService()
    assert repr(OpenAIChatService(model="m", api_key="k")) == (
        "OpenAIChatService(model='m', base_url='https://api.openai.com/v1')"
    )


async def test_from_env_takes_our_names_then_openais_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(["one", "two", "three"], api_key="right-key") as server:
        monkeypatch.setenv("OPENAI_MODEL", "openai-model")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", " right-key\n")  # a line end is what copying adds
        await _asked(OpenAIChatService.from_env())
        monkeypatch.setenv("POWER_LOOP_MODEL", "our-model")
        monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
        monkeypatch.setenv("POWER_LOOP_API_KEY", "right-key")
        monkeypatch.setenv("POWER_LOOP_BASE_URL", "")
        await _asked(OpenAIChatService.from_env())
        await _asked(OpenAIChatService.from_env(model="argument"))
    assert [request.body["model"] for request in server.requests] == ["openai-model", "our-model", "argument"]
    assert server.refusals == []


def test_from_env_names_what_the_environment_lacks() -> None:
    with pytest.raises(ModelSettingsError, match=r"a model is missing.*an API key is missing"):
        OpenAIChatService.from_env()


def test_the_key_is_in_no_text_form_and_not_pickled() -> None:
    service = OpenAIChatService(model="m", api_key=KEY, base_url="http://127.0.0.1:1/v1")
    for shown in (repr(service), str(service), repr(vars(service)), repr(service._settings)):
        assert KEY not in shown
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(service._settings)
    with pytest.raises(TypeError, match="secret"):
        copy.deepcopy(service._settings)


ECHO = f"Incorrect API key provided: {KEY}"
FAILURES = {
    "401": Reply.fails(401, ECHO),
    "400": Reply.fails(400, ECHO),
    "429": Reply.fails(429, ECHO),
    "500 as text": Reply().with_fault("status", status=500, body=ECHO),
    "code": Reply.fails(400, "no", code=KEY, kind=KEY),
    "in a stream": Reply(text="abcdef").with_fault("error", after=1, message=ECHO),
    "context": Reply.fails(400, ECHO, code="context_length_exceeded"),
    "disconnect": Reply(text="abcdef").with_fault("disconnect", after=1),
    "refused shape": Reply().with_fault("status", status=200, body=json.dumps({"choices": KEY})),
}


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("name", list(FAILURES))
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_the_key_is_in_no_error_and_no_log(name: str, stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for logger in ("openai", "httpx2", "httpcore2", "aiohttp", "stamina", "asyncio"):
        caplog.set_level(logging.DEBUG, logger)
    async with ScriptedServer(lambda asked: FAILURES[name], api_key=KEY) as server:
        service = OpenAIChatService(model="m", base_url=server.url, api_key=KEY, attempts=2, backoff=0.01)
        with pytest.raises(ModelError) as caught:
            await (_without_key(service) if stream else service.complete(ASK))
        await service.aclose()
    assert server.refusals == []  # the key did go out
    whole = "".join(traceback.format_exception(caught.value))
    error: BaseException | None = caught.value
    while error is not None:
        whole += f"{error!r} {error} {error.args} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert KEY not in whole
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "openai" in logged  # the debug log was on
    assert KEY not in logged


def test_importing_the_package_loads_no_client_and_reads_no_environment() -> None:
    program = (
        "import os, sys; seen = []\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, name): seen.append(name); return dict.__getitem__(self, name)\n"
        "    def get(self, name, default=None): seen.append(name); return dict.get(self, name, default)\n"
        "real = os.environ; os.environ = Watched(real)\n"
        "import llm_client\n"
        "heavy = {'openai', 'httpx2', 'stamina', 'httpx', 'aiohttp'} & set(sys.modules)\n"
        "mine = [name for name in seen if name.startswith(('POWER_LOOP', 'OPENAI'))]\n"
        "os.environ = real\n"
        "assert not heavy, heavy\n"
        "assert not mine, mine\n"
        "llm_client.OpenAIChatService(model='m', api_key='k')\n"
        "assert 'openai' in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


@pytest.mark.usefixtures("transport")
def test_one_service_serves_one_event_loop_after_the_other() -> None:
    with ScriptedServer(["one", "two", "three"]) as server:
        service = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        texts = [asyncio.run(service.complete(ASK)).message.text for _ in range(3)]
    assert texts == ["one", "two", "three"]


@pytest.mark.usefixtures("transport")
async def test_one_service_serves_two_event_loops_at_once() -> None:
    async with ScriptedServer(lambda asked: "hello") as server:
        service = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        here = await service.complete(ASK)
        there = await asyncio.to_thread(lambda: asyncio.run(service.complete(ASK)))
        again = await service.complete(ASK)
        assert here == there == again
        await service.aclose()
        assert (await service.complete(ASK)) == here  # a closed service opens new connections
        await service.aclose()


async def test_requests_one_after_the_other_share_a_connection() -> None:
    async with ScriptedServer(lambda asked: "hello") as server:
        service = OpenAIChatService(model="m", base_url=server.url, api_key="k")
        for _ in range(3):
            await service.complete(ASK)
            [event async for event in service.stream(ASK)]
        [(client, _)] = service._requests._exchange._held.values()
        lanes = client._client._transport
        assert isinstance(lanes, Lanes)
        assert len(lanes) == 1
        await service.aclose()


async def _without_key(service: OpenAIChatService) -> None:
    async for event in service.stream(ASK):
        assert KEY not in repr(event)


async def _asked(service: OpenAIChatService) -> None:
    try:
        await service.complete(ASK)
    finally:
        await service.aclose()
