"""A reply in the words of the wire: one body, or the chunks of a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from power_loop.testing.script import Asked, Fault, Reply

_CHARACTERS_PER_TOKEN: Final = 4
CREATED: Final = 1_700_000_000
"""When every answer says it was made: answers depend on the request alone."""


def tokens(raw: bytes) -> int:
    """How many tokens a request counts: one for every four bytes of its body."""
    return max(1, len(raw) // _CHARACTERS_PER_TOKEN)


def usage(asked: Asked, reply: Reply) -> dict[str, Any]:
    """What the reply costs: the script's word, else counted from the texts."""
    said = len(reply.text or "") + len(reply.reasoning or "")
    said += sum(len(call.name) + len(call.arguments_text) for call in reply.calls)
    counted = {"prompt_tokens": tokens(asked.raw), "completion_tokens": max(1, said // _CHARACTERS_PER_TOKEN)}
    bill = counted | dict(reply.usage or {})
    return {"total_tokens": bill["prompt_tokens"] + bill["completion_tokens"]} | bill


def whole(asked: Asked, reply: Reply) -> dict[str, Any]:
    """The body of one answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal, **reply.fields}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    calls = _calls(asked, reply)
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(reply)}
    return {**_envelope(asked, "chat.completion"), "choices": [choice], "usage": usage(asked, reply)}


def chunks(asked: Asked, reply: Reply, piece: int) -> Iterator[str]:
    """The data of each event of a stream, without [DONE]."""
    if reply.chunks is not None:
        yield from (item if isinstance(item, str) else json.dumps(item) for item in reply.chunks)
        return
    with_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
    envelope = _envelope(asked, "chat.completion.chunk") | ({"usage": None} if with_usage else {})

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return json.dumps({**envelope, "choices": [choice]})

    yield chunk({"role": "assistant", "content": None if reply.text is None else "", **reply.fields})
    for name, text in (("reasoning_content", reply.reasoning), ("content", reply.text), ("refusal", reply.refusal)):
        for part in _pieces(text or "", piece):
            yield chunk({name: part})
    for index, call in enumerate(_calls(asked, reply)):
        function = call["function"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]})
        for part in _pieces(function["arguments"], piece):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, _reason(reply))
    if with_usage:
        yield json.dumps({**envelope, "choices": [], "usage": usage(asked, reply)})


def fault_body(fault: Fault) -> str:
    """The body of an error: the script's, else an error object of the API."""
    if fault.body is not None:
        return fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
    return json.dumps({"error": {"message": fault.message, "type": fault.type, "param": None, "code": fault.code}})


def _envelope(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{_mark(asked)}", "object": kind, "created": CREATED, "model": asked.body["model"]}


def _mark(asked: Asked) -> str:
    """A short name for the request's messages: ids made from it are the same when the same is asked again."""
    text = json.dumps(asked.body["messages"], sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:12]


def _calls(asked: Asked, reply: Reply) -> list[dict[str, Any]]:
    made = []
    for number, call in enumerate(reply.calls):
        id = f"call_{_mark(asked)}_{number}" if call.id == "auto" else call.id
        function = {"name": call.name, "arguments": call.arguments_text}
        made.append({**({} if id is None else {"id": id}), "type": "function", "function": function})
    return made


def _reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
