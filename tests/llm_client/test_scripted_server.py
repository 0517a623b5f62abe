"""The scripted server as a tool: scripts, faults, records, its own process, and a prompt end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from llm_client import OpenAIChatService
from llm_client.errors import ModelRequestError
from llm_client.messages import UserMessage, wire
from llm_client.scripted import calls, says
from llm_client.service import Answer, ChatRequest
from power_loop.testing import Asked, Reply, ScriptedServer, ScriptError, ServerProcess
from power_loop.testing.script import InOrder, Rules, reply_of

TOOL = '{"type":"function","function":{"name":"read","parameters":{"type":"object"}}}'


def ask(*texts: str, tools: bool = True) -> ChatRequest:
    return ChatRequest(
        messages=tuple(wire(UserMessage(content=text)) for text in texts), tools=(TOOL,) if tools else ()
    )


async def answer(url: str, request: ChatRequest) -> Answer:
    client = OpenAIChatService(model="m", base_url=url, api_key="k", backoff=0.01)
    try:
        return await client.complete(request)
    finally:
        await client.aclose()


async def test_rules_depend_on_the_request_alone() -> None:
    rules: dict[str, Any] = {
        "rules": [
            {"when": {"tools": False}, "reply": "no tools"},
            {"when": {"user": 1, "round": 0}, "reply": [["read", {"path": "a"}], ["read", {"path": "b"}]]},
            {"when": {"round": 1, "last": "tool"}, "reply": {"text": "done", "usage": {"prompt_tokens": 5}}},
            {"when": {"contains": "magic"}, "reply": {"text": "abracadabra", "reasoning": "hm"}},
        ],
        "otherwise": "what?",
    }
    async with ScriptedServer(rules) as server:
        first, again = [await answer(server.url, ask("go")) for _ in range(2)]
        assert first == again  # ids too: a client that crashed and asks again gets the same calls
        assert [call.arguments for call in first.message.tool_calls] == ['{"path": "a"}', '{"path": "b"}']
        results = [json.dumps({"role": "tool", "tool_call_id": c.id, "content": "x"}) for c in first.message.tool_calls]
        history = (*ask("go").messages, wire(first.message), *results)
        second = await answer(server.url, ChatRequest(messages=history, tools=(TOOL,)))
        assert second.message.text == "done"
        assert second.usage is not None
        assert second.usage.prompt_tokens == 5
        assert (await answer(server.url, ask("a", "magic word"))).message.provider == {"reasoning_content": "hm"}
        assert (await answer(server.url, ask("a", "b"))).message.text == "what?"
        assert (await answer(server.url, ask("a", tools=False))).message.text == "no tools"


async def test_a_function_may_wait_and_sees_the_request() -> None:
    gate = threading.Event()

    async def policy(asked: Asked) -> Any:
        await asyncio.to_thread(gate.wait, 10)
        return f"{asked.number} {asked.user} {asked.last} {asked.tools} {asked.last_user_text}"

    async with ScriptedServer(policy) as server:
        task = asyncio.create_task(answer(server.url, ask("a", "b")))
        await server.received(1)
        assert not task.done()
        gate.set()
        assert (await task).message.text == "1 2 user ('read',) b"


async def test_messages_of_the_client_library_make_a_script_too() -> None:
    async with ScriptedServer([calls(("read", {"path": "x"})), says("bye")]) as server:
        first = await answer(server.url, ask("go"))
        assert [(call.id, call.name) for call in first.message.tool_calls] == [("call_0", "read")]
        assert (await answer(server.url, ask("go"))).message.text == "bye"


async def test_a_model_without_tools_calls_none() -> None:
    async with ScriptedServer(lambda asked: [["read", {}]]) as server:
        assert (await answer(server.url, ask("go", tools=False))).message.tool_calls == ()
        none = ChatRequest(messages=ask("go").messages, tools=(TOOL,), tool_choice="none")
        assert (await answer(server.url, none)).message.tool_calls == ()


async def test_usage_is_counted_from_the_body() -> None:
    async with ScriptedServer(["12345678"]) as server:
        usage = (await answer(server.url, ask("go"))).usage
    assert usage is not None
    [record] = server.requests
    assert usage.prompt_tokens == int(record.headers["content-length"]) // 4
    assert usage.completion_tokens == 2


async def test_faults_with_times_end() -> None:
    rules = {"otherwise": {"text": "ok", "fault": {"kind": "status", "status": 503, "times": 2}}, "rules": []}
    async with ScriptedServer(rules) as server:
        assert (await answer(server.url, ask("one"))).message.text == "ok"
        assert (await answer(server.url, ask("two"))).message.text == "ok"
    assert [record.status for record in server.requests] == [503, 503, 200] * 2
    async with ScriptedServer([Reply.says("a").with_fault("disconnect", times=2), "b"]) as server:
        assert (await answer(server.url, ask("one"))).message.text == "a"
        assert (await answer(server.url, ask("one"))).message.text == "b"
    assert [record.outcome for record in server.requests] == ["faulty", "faulty", "answered", "answered"]


async def test_a_script_that_fails_is_raised_where_the_server_ends() -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - leaving the block is what raises
        async with ScriptedServer(["only one"]) as server:
            await answer(server.url, ask("a"))
            with pytest.raises(ModelRequestError, match="used up"):
                await answer(server.url, ask("a"))
    assert [type(error) for error in caught.value.exceptions] == [ScriptError]


def test_a_test_that_fails_keeps_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError), ScriptedServer([]) as server:  # noqa: PT012 - as above
        with pytest.raises(ModelRequestError):
            asyncio.run(answer(server.url, ask("a")))
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"when": {"moon": "full"}, "reply": "x"}]},
        {"rules": [{"reply": {"txt": "x"}}]},
        {"rules": [{}]},
        {"answers": [{"fault": {"kind": "fire"}}]},
        {"answers": [{"fault": {"kind": "hang", "where": 1}}]},
        {"answers": [["read"]]},
        {"answers": [5]},
        {"anything": 1},
    ],
)
def test_a_script_that_cannot_be_read_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ScriptError):
        ScriptedServer(wrong)


def test_a_rule_script_without_otherwise_says_what_it_lacks() -> None:
    asked = Asked(1, {"messages": [{"role": "user", "content": "x"}]}, b"")
    with pytest.raises(ScriptError, match="user message 1, round 0"):
        Rules([])(asked)
    with pytest.raises(ScriptError, match="used up"):
        InOrder([])(asked)
    assert reply_of("x") == Reply(text="x")


def test_it_ends_at_once_with_connections_open_and_requests_hanging() -> None:
    with ScriptedServer(lambda asked: Reply.says("x").with_fault("hang")) as server:
        idle = socket.create_connection(("127.0.0.1", server.port))
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        hanging = socket.create_connection(("127.0.0.1", server.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
        hanging.sendall(head.encode() + body)
        server.wait_for(1)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    for client in (idle, hanging):
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert server.requests[0].outcome == "stopped"
    assert "scripted-server" not in [thread.name for thread in threading.enumerate()]


def test_a_port_that_is_taken_is_an_error() -> None:
    with ScriptedServer([]) as server, pytest.raises(OSError, match="in use"), ScriptedServer([], port=server.port):
        pass


def test_it_waits_for_requests_no_longer_than_told() -> None:
    with ScriptedServer([]) as server, pytest.raises(TimeoutError, match="0 of 1"):
        server.wait_for(1, timeout=0.05)


def fetch(url: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_process_of_its_own_lists_models_tells_requests_and_takes_scripts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with ServerProcess(["one"], log=log, options=["--context-window", "100000"]) as server:
        root = server.url.removesuffix("/v1")
        assert fetch(f"{server.url}/models")[1]["data"][0]["id"] == "scripted"
        assert asyncio.run(answer(server.url, ask("a"))).message.text == "one"
        assert fetch(f"{root}/__script", b'["two"]') == (200, {"ok": True})
        assert asyncio.run(answer(server.url, ask("b"))).message.text == "two"
        assert fetch(f"{root}/__script", b"{}")[0] == 400
        assert fetch(f"{root}/__script", b"no json")[0] == 400
        assert fetch(f"{root}/nowhere")[0] == 404
        told = server.requests()
    assert [record["body"]["messages"][0]["content"] for record in told] == ["a", "b"]
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["number"], line["status"], line["body"]) for line in logged] == [
        (record["number"], record["status"], record["body"]) for record in told
    ]
    assert "authorization" not in log.read_text().lower()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].removesuffix("/v1"))))


def test_the_process_outlives_a_killed_client() -> None:
    with ServerProcess({"rules": [], "otherwise": {"text": "x", "fault": {"kind": "hang", "times": 1}}}) as server:
        program = (
            "import asyncio, sys; from llm_client import ChatRequest, OpenAIChatService as S\n"
            f"ask = ChatRequest(messages=({wire(UserMessage(content='a'))!r},))\n"
            f"asyncio.run(S(model='m', base_url={server.url!r}, api_key='k').complete(ask))\n"
        )
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        client = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **path})
        until = time.monotonic() + 30
        while not server.requests():
            assert time.monotonic() < until
            time.sleep(0.02)
        client.kill()
        assert client.wait(10) == -signal.SIGKILL
        assert asyncio.run(answer(server.url, ask("a", tools=False))).message.text == "x"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_in_order_when_it_is_told_to(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "power_loop.testing.server"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["url"].endswith("/v1")
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "options", [["--script", "/nowhere.json"], ["--policy", "json:nothing"], ["--policy", "x.y:z"]]
)
def test_a_script_that_is_not_there_ends_the_process_with_2(options: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "power_loop.testing.server", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert done.stdout == ""
