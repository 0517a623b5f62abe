"""`power-loop chat`: talk to a model in a session that survives; a line is a message."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Final

import click

from power_loop.cli import output
from power_loop.cli.exits import Exit, Interrupted, said
from power_loop.cli.loading import check_tools, load_tools, model_service
from power_loop.cli.narrate import Narrator
from power_loop.cli.pending import show_call
from power_loop.cli.people import me
from power_loop.cli.resume import how_to_go_on, show_end
from power_loop.cli.told import Told, told
from power_loop.config import AgentLoopConfig
from power_loop.engine.calls import OpenCall
from power_loop.engine.facts import TurnBegan
from power_loop.engine.turns import SessionState
from power_loop.errors import InputInvalidError, ModelError, SessionBusyError, SessionPendingError
from power_loop.stateful_loop import StatefulAgentLoop, StatefulResult
from power_loop.store.records import SessionInfo
from power_loop.tools import ToolRegistry

HELP: Final = "/quit ends, /session shows its id, /resume goes on with an interrupted turn; any other line is a message"


@click.command(short_help="Talk to a model in a session that survives.")
@click.option("--session", "prefix", metavar="SESSION", help="Go on with this one; else a new one begins.")
@click.option("--tools", "names", multiple=True, metavar="MODULE:NAME",
              help="A tool, a list of tools or a ToolRegistry. May be given more than once.")  # fmt: skip
@click.option("--model", help="Else $POWER_LOOP_MODEL or $OPENAI_MODEL.")
@click.option("--base-url", help="Else $POWER_LOOP_BASE_URL or $OPENAI_BASE_URL, else OpenAI's.")
@click.option("--system", metavar="TEXT", help="The system prompt of a new session.")
@told
def chat(
    told: Told,
    prefix: str | None,
    names: tuple[str, ...],
    model: str | None,
    base_url: str | None,
    system: str | None,
) -> int:
    """Talk to the model of any OpenAI-compatible endpoint. Reads lines from a terminal or a pipe.

    The key of the endpoint comes from $POWER_LOOP_API_KEY or $OPENAI_API_KEY.
    """
    if prefix is not None and system is not None:
        raise InputInvalidError("--system", "is for new sessions", "a session keeps the prompt it was made with")
    tools = load_tools(names)
    config = AgentLoopConfig(system_prompt=system)
    with asyncio.Runner() as runner:
        llm = model_service(model, base_url)
        create = None if prefix is None else False
        loop = StatefulAgentLoop(llm=llm, db_path=told.path, create=create, tools=tools, config=config)
        talk = Chat(told, runner, loop, tools)
        try:
            return talk.run(prefix)
        except KeyboardInterrupt:
            raise Interrupted(talk.how_to_go_on()) from None
        finally:
            runner.run(loop.aclose())
            runner.run(llm.aclose())


class Chat:
    """One conversation. Its event loop runs while something is under way, not while a person thinks."""

    def __init__(self, told: Told, runner: asyncio.Runner, loop: StatefulAgentLoop, tools: ToolRegistry) -> None:
        self._told, self._runner, self._loop, self._tools = told, runner, loop, tools
        self._tty = sys.stdin.isatty()
        self._prompts = self._tty and not told.json
        self._session: str | None = None

    def run(self, prefix: str | None) -> int:
        if prefix is not None:
            self._session = self._runner.run(self._loop.find_session(prefix))
        self._greet()
        code = self._settle() if self._session is not None else Exit.OK
        while code == Exit.OK and (text := self._line()) is not None:
            code = self._take(text.strip())
        return code

    def how_to_go_on(self) -> str:
        if self._session is None:
            return "stopped by Ctrl-C; nothing was begun"
        return how_to_go_on(self._told, self._session)

    def _greet(self) -> None:
        if self._prompts:
            where = "a new session" if self._session is None else f"session {self._session}"
            output.show(output.dim(f"{where} in {self._told.path}; {HELP}"))

    def _line(self) -> str | None:
        """The next message; None at the end of the input."""
        try:
            if self._prompts:
                return input("you> ")
            return next(iter(sys.stdin.readline, ""), None)
        except EOFError:
            output.show()
            return None

    def _take(self, text: str) -> int:
        match text:
            case "":
                return Exit.OK
            case "/quit" | "/exit":
                raise click.exceptions.Exit(Exit.OK)
            case "/help":
                self._say({"help": HELP}, HELP)
            case "/session":
                self._say({"session_id": self._session}, self._session or "none yet: it begins with your first message")
            case "/resume" if self._session is not None:
                return self._tried(None)
            case _:
                return self._tried(text)
        return Exit.OK

    def _say(self, value: object, words: str) -> None:
        if self._told.json:
            output.show_json(value)
        else:
            output.show(words)

    def _tried(self, text: str | None) -> int:
        """Run a turn. What a model cannot do ends a script; a person may try again."""
        try:
            code = self._runner.run(self._send(text) if text is not None else self._resume())
        except (ModelError, SessionBusyError) as error:
            if not self._prompts:
                raise
            output.show(f"{output.coloured('failed', 'error:')} [{error.code}] {said(error, self._told)}")
            output.show(output.dim("what you said is stored; /resume asks again"))
            return Exit.OK
        return self._settle() if code == Exit.WAITS else code

    async def _send(self, text: str) -> int:
        narrator = Narrator()
        result: StatefulResult | None = None
        try:
            async with aclosing(self._loop.stream(text, self._session, if_busy="raise")) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, StatefulResult):
                        result = event
                    elif isinstance(event, TurnBegan):
                        self._session = event.session
                    elif not self._told.json:
                        narrator.tell(event)
        finally:
            narrator.end_line()
        assert result is not None, "a stream ends with its result"
        return self._ended(narrator, result)

    async def _resume(self) -> int:
        assert self._session is not None
        info = await self._loop.get_session(self._session)
        check_tools(info, self._tools, without=False)
        result = await self._loop.resume(self._session, if_busy="raise")
        return self._ended(Narrator(info.pending), result)

    def _ended(self, narrator: Narrator, result: StatefulResult) -> int:
        if self._told.json:
            output.show_json(result)
            return Exit.WAITS if result.pending_tool_calls else Exit.OK
        narrator.answer(result.final_text)
        code = show_end(self._told, result)
        return Exit.WAITS if result.pending_tool_calls else code * (not self._prompts)

    def _settle(self) -> int:
        """See to it that the session takes input; a person is asked, a script refused.

        Raises:
            SessionPendingError: calls are open, and there is nobody to ask.
        """
        assert self._session is not None
        while True:
            info = self._runner.run(self._loop.get_session(self._session))
            if info.state is SessionState.RUNNING:
                raise SessionBusyError(info.session_id, info.owner or "somebody", info.owner_since)
            if not info.pending:
                if info.needs_attention and self._prompts:
                    output.show(output.dim("the last turn has no answer; /resume asks again, or just go on"))
                return Exit.OK
            if not self._prompts:
                raise SessionPendingError(info.session_id, info.pending)
            code = self._asked(info)
            if code != Exit.OK:
                return code

    def _asked(self, info: SessionInfo) -> int:
        if any(call.waits and call.decision is None for call in info.pending):
            return self._decided(info)
        output.show(f"the last turn was cut off with {len(info.pending)} open call(s):")
        for call in info.pending:
            show_call(call)
        word = click.prompt("resume it, abort it, or quit", type=click.Choice(["resume", "abort", "quit"]))
        if word == "quit":
            raise click.exceptions.Exit(Exit.WAITS)
        if word == "abort":
            return self._given_up(info)
        return self._tried(None)

    def _given_up(self, info: SessionInfo) -> int:
        self._runner.run(self._loop.abort_pending(info.session_id, reason="given up in the chat"))
        return Exit.OK

    def _decided(self, info: SessionInfo) -> int:
        """Ask about every call that waits for somebody, then go on."""
        session = info.session_id
        reasons = {wait.call_id: wait.reason for wait in self._runner.run(self._loop.get_approvals(session))}
        for call in info.pending:
            if not call.waits or call.decision is not None:
                continue
            show_call(call, reasons.get(call.id))
            words = ["answer"] if call.state == "waiting_for_input" else ["approve", "deny"]
            word = click.prompt(f"{', '.join(words)}, abort, or quit", type=click.Choice([*words, "abort", "quit"]))
            if word == "quit":
                raise click.exceptions.Exit(Exit.WAITS)
            if word == "abort":
                return self._given_up(info)
            if word == "approve":
                self._runner.run(self._loop.approve(session, call.id, by=me()))
            elif word == "deny":
                reason = click.prompt("why (the model is told)", default="", show_default=False).strip()
                self._runner.run(self._loop.deny(session, call.id, reason or None, by=me()))
            else:
                self._answered(session, call)
        return self._tried(None)

    def _answered(self, session: str, call: OpenCall) -> None:
        """Ask until the answer is one that the call takes."""
        while True:
            said = click.prompt("your answer")
            try:
                self._runner.run(self._loop.submit_results(session, {call.id: said}, go_on=False))
            except InputInvalidError as error:
                output.show(output.line(str(error)))
                continue
            return
