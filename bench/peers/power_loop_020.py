"""power-loop 0.2.0, the release this package replaces, with its defaults; nothing is compacted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from bench import conversation as c
from bench.peers import Peer


class PowerLoop020(Peer):
    title = "power-loop 0.2.0"
    packages = ("power-loop==0.2.0", "openai==3.57.0")
    setting = "WAL, synchronous=NORMAL (its default)"
    synchronous: ClassVar[str | None] = None

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        old: Any = import_module("power_loop")  # not the one beside us, which type checkers know

        tools = old.ToolRegistry()
        described = c.TOOL["function"]
        tools.register(
            old.ToolDefinition(
                name=described["name"],
                description=described["description"],
                input_schema=described["parameters"],
                required_params=tuple(described["parameters"]["required"]),
            ),
            c.forecast,
        )
        if url is None:
            model = _in_process()
        else:
            settings = old.LLMProviderConfig(base_url=url, api_key="bench", model=c.MODEL)
            model = old.create_llm_service_from_config(settings)
        self._store = old.SessionStore.open(str(folder / "old.db"))
        if self.synchronous is not None:
            self._store._conn.execute(f"PRAGMA synchronous = {self.synchronous}")
        config = old.AgentLoopConfig(compactor=None, system_prompt="You know the weather.")  # else one of 6 KB
        self._loop = old.StatefulAgentLoop(llm=model, store=self._store, config=config, tool_registry=tools)
        self._ids: dict[int, str] = {}

    async def turn(self, session: int) -> None:
        done = await self._loop.send(c.question(self.next_number()), self._ids.get(session))
        assert done.status == "completed", done
        self._ids[session] = done.session_id

    async def close(self) -> None:
        self._store.close()


def _in_process() -> Any:
    old: Any = import_module("llm_client.interface")
    answer = old.LLMResponse

    usage = old.LLMTokenUsage(prompt_tokens=40, completion_tokens=60, total_tokens=100)

    class InProcess:
        async def complete(self, request: Any, **_: Any) -> Any:
            last = request.messages[-1]["content"]
            if c.after_results(last):
                return answer(raw_text=c.ANSWER, content_text=c.ANSWER, token_usage=usage)
            calls = c.asks(c.number_in(last))["tool_calls"]
            return answer(raw_text="", tool_calls=calls, token_usage=usage)

    return InProcess()


PEER = PowerLoop020
