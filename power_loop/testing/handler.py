"""What a scripted model server does with one connection, one request, one fault."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from power_loop.testing import completions
from power_loop.testing.http import HttpError, HttpRequest, Responder, read_request
from power_loop.testing.protocol import ApiError, check_context, check_request
from power_loop.testing.script import Asked, Fault, Policy, Reply, ScriptError, ScriptLike, policy_of, reply_of

_NO_TOOLS: Final = "I cannot call tools now."
"""What the model says when its script wants calls but the request allows none, as a real one could not call either."""

_DAMAGED: Final = '{"id":"chatcmpl-damaged","choices":[{"index":0,"delta":{"conte'


@dataclass(slots=True)
class Recorded:
    """One request as it came, and what became of it."""

    number: int
    at: float
    """When it came, on this machine's monotonic clock."""
    headers: Mapping[str, str]
    body: Any
    """The JSON that was sent; None if it was none."""
    status: int | None = None
    """The HTTP status sent, or None: nothing was sent."""
    refusal: str | None = None
    """Why it was refused, if it broke the protocol."""
    outcome: Literal["open", "answered", "faulty", "refused", "client gone", "script failed", "stopped"] = "open"

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    def as_json(self) -> dict[str, Any]:
        # The key is the client's secret, also in a log of tests.
        return asdict(replace(self, headers={n: v for n, v in self.headers.items() if n != "authorization"}))


class Handler:
    """Answers requests; knows nothing of sockets beyond the streams it is given."""

    def __init__(
        self,
        script: ScriptLike,
        *,
        model: str,
        piece: int,
        context_window: int | None,
        api_key: str | None,
        log: Path | None,
    ) -> None:
        self._policy: Policy = policy_of(script)
        self._model, self._piece, self._window, self._api_key, self._log = model, piece, context_window, api_key, log
        self._seen: Counter[str] = Counter()
        self._valid = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.recorded: list[Recorded] = []
        self.errors: list[Exception] = []
        """What went wrong in the script."""
        self.arrived = threading.Condition()
        """Notified after every new record."""

    def use(self, script: ScriptLike) -> None:
        self._policy = policy_of(script)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side is done with it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while (request := await read_request(reader)) is not None:
                await self._request(request, Responder(writer), reader)
                if writer.is_closing() or not request.keeps_alive:
                    break
        except HttpError as error:
            await Responder(writer).send_json(error.status, {"error": {"message": str(error)}})
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went; the record of its request says so
        except asyncio.CancelledError:
            pass  # the server stops; nobody waits for this task
        finally:
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _request(self, request: HttpRequest, out: Responder, reader: asyncio.StreamReader) -> None:
        match request.method, request.path.rstrip("/"):
            case "POST", "/v1/chat/completions":
                await self._completion(request, out, reader)
            case "GET", "/v1/models":
                listed = {
                    "id": self._model,
                    "object": "model",
                    "created": completions.CREATED,
                    "owned_by": "power-loop",
                }
                await out.send_json(200, {"object": "list", "data": [listed]})
            case "GET", "/__requests":
                await out.send_json(200, [record.as_json() for record in self.recorded])
            case "POST", "/__script":
                await self._new_script(request, out)
            case method, path:
                message = f"Invalid URL ({method} {path})"
                await out.send_json(404, ApiError(message, status=404).body())

    async def _new_script(self, request: HttpRequest, out: Responder) -> None:
        try:
            self.use(json.loads(request.body))
        except (ValueError, TypeError) as error:
            await out.send_json(400, {"error": {"message": f"no script: {error}"}})
        else:
            await out.send_json(200, {"ok": True})

    async def _completion(self, request: HttpRequest, out: Responder, reader: asyncio.StreamReader) -> None:
        record = self._record(request)
        try:
            try:
                asked = self._checked(request, record)
                reply = await self._reply(asked)
            except ApiError as error:
                record.refusal, record.status, record.outcome = str(error), error.status, "refused"
                self._write_log(record)
                await out.send_json(error.status, error.body())
                return
            except Exception as error:  # noqa: BLE001 - a script may raise anything; it is raised again when the server ends
                self.errors.append(error)
                record.status, record.outcome = 400, "script failed"
                self._write_log(record)
                told = ApiError(f"the script has no reply: {type(error).__name__}: {error}", code="script_failed")
                await out.send_json(400, told.body())
                return
            record.status = _status(reply)
            self._write_log(record)
            await asyncio.sleep(reply.delay)
            faulty = await self._answer(asked, reply, out, reader)
            record.outcome = "faulty" if faulty else "answered"
        except (ConnectionError, asyncio.IncompleteReadError):
            record.outcome = "client gone"
            raise
        except asyncio.CancelledError:
            record.outcome = "stopped"
            raise

    def _record(self, request: HttpRequest) -> Recorded:
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        with self.arrived:
            record = Recorded(len(self.recorded) + 1, time.monotonic(), request.headers, body)
            self.recorded.append(record)
            self.arrived.notify_all()
        return record

    def _write_log(self, record: Recorded) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record.as_json()) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _checked(self, request: HttpRequest, record: Recorded) -> Asked:
        key = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not key:
            raise ApiError("You didn't provide an API key.", status=401)
        if self._api_key is not None and key != self._api_key:
            raise ApiError("Incorrect API key provided.", code="invalid_api_key", status=401)
        if record.body is None:
            raise ApiError("We could not parse the JSON body of your request.")
        check_request(record.body)
        if self._window is not None:
            check_context(completions.tokens(request.body), self._window)
        mark = hashlib.sha256(request.body).hexdigest()
        self._valid += 1
        asked = Asked(self._valid, record.body, request.body, seen=self._seen[mark])
        self._seen[mark] += 1
        return asked

    async def _reply(self, asked: Asked) -> Reply:
        given = self._policy(asked)
        reply = reply_of(await given if inspect.isawaitable(given) else given)
        if reply.calls and not asked.tools:
            reply = replace(reply, calls=(), text=reply.text or _NO_TOOLS, finish_reason=None)
        if reply.body is not None and asked.stream:
            raise ScriptError("a reply with `body` cannot be streamed; give `chunks`")
        if reply.chunks is not None and not asked.stream:
            raise ScriptError("a reply with `chunks` can only be streamed; give `body`")
        if reply.fault is not None and reply.fault.times is not None and asked.seen >= reply.fault.times:
            reply = replace(reply, fault=None)
        return reply

    async def _answer(self, asked: Asked, reply: Reply, out: Responder, reader: asyncio.StreamReader) -> bool:
        """Send the reply; whether its fault came to pass."""
        fault = reply.fault
        if fault is not None and fault.kind == "status":
            await out.send(fault.status, completions.fault_body(fault), fault.headers)
            return True
        if fault is not None and fault.after is None and fault.kind in ("disconnect", "hang"):
            await _break(fault, out, reader)
            return True
        if asked.stream:
            return await self._stream(asked, reply, out, reader)
        body = reply.body if reply.body is not None else completions.whole(asked, reply)
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        if fault is None:
            await out.send(200, data)
            return False
        if fault.kind == "error":
            await out.send(200, completions.fault_body(fault))
        elif fault.kind == "malformed":
            await out.send(200, data[: len(data) // 2])
        else:
            await out.head(200, {"content-length": str(len(data))})
            await out.write(data[: len(data) // 2])
            if fault.kind == "truncate":
                out.close()  # in order, but before the announced length
            else:
                await _break(fault, out, reader)
        return True

    async def _stream(self, asked: Asked, reply: Reply, out: Responder, reader: asyncio.StreamReader) -> bool:
        fault, number = reply.fault, 0
        after = 0 if fault is None else fault.after or 0
        await out.stream_head()
        for number, data in enumerate(completions.chunks(asked, reply, reply.piece or self._piece)):
            if fault is not None and number == after:
                if fault.kind == "malformed":
                    await out.event(_DAMAGED)
                elif fault.kind == "error":
                    await out.event(completions.fault_body(fault))
                else:
                    await _break(fault, out, reader)
                    return True
            await asyncio.sleep(reply.chunk_delay)
            await out.event(data)
        if fault is not None and after > number:
            await _break(fault, out, reader)
            return True
        if reply.done:
            await out.event("[DONE]")
        await out.stream_end()
        return fault is not None


async def _break(fault: Fault, out: Responder, reader: asyncio.StreamReader) -> None:
    if fault.kind == "hang":
        await reader.read()  # until the client gives up
        raise ConnectionResetError("the client gave up")
    if fault.kind == "truncate":
        await out.stream_end()
        return
    out.reset()


def _status(reply: Reply) -> int | None:
    fault = reply.fault
    if fault is None or fault.kind in ("malformed", "error", "truncate"):
        return 200
    if fault.kind == "status":
        return fault.status
    return None if fault.after is None else 200
