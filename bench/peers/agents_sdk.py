"""OpenAI Agents SDK with SQLiteSession, tracing disabled; over HTTP in chat-completions mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer


class AgentsSdk(Peer):
    title = "OpenAI Agents SDK, SQLiteSession"
    packages = ("openai-agents==0.24.0", "openai==3.57.0")
    setting = "WAL, synchronous=FULL (its defaults)"

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        import agents

        agents.set_tracing_disabled(True)
        self._run, self._session = agents.Runner.run, agents.SQLiteSession
        self._client: Any = None
        if url is None:
            model = _in_process(agents)
        else:
            import openai

            self._client = openai.AsyncOpenAI(api_key="bench", base_url=url, max_retries=0)
            model = agents.OpenAIChatCompletionsModel(model=c.MODEL, openai_client=self._client)
        tool = agents.function_tool(c.forecast)
        self._agent = agents.Agent(name="bench", model=model, tools=[tool])
        self._path = folder / "sessions.db"
        self._sessions: dict[int, Any] = {}

    async def turn(self, session: int) -> None:
        if session not in self._sessions:
            self._sessions[session] = self._session(f"s{session}", self._path)
        await self._run(self._agent, c.question(self.next_number()), session=self._sessions[session])

    async def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        if self._client is not None:
            await self._client.close()


def _in_process(agents: Any) -> Any:
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    class InProcess(agents.Model):  # type: ignore[misc]
        async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:
            last = input if isinstance(input, str) else input[-1].get("output") or input[-1]["content"]
            if c.after_results(last):
                text = ResponseOutputText(text=c.ANSWER, type="output_text", annotations=[])
                output: list[Any] = [
                    ResponseOutputMessage(
                        id="bench", content=[text], role="assistant", status="completed", type="message"
                    )
                ]
            else:
                output = [
                    ResponseFunctionToolCall(call_id=key, name=name, arguments=arguments, type="function_call")
                    for key, name, arguments in c.calls(c.number_in(last))
                ]
            usage = agents.Usage(requests=1, input_tokens=40, output_tokens=60, total_tokens=100)
            return agents.ModelResponse(output=output, usage=usage, response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    return InProcess()


PEER = AgentsSdk
