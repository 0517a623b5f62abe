"""The same turn through `NullSink`: our loop without its store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import conversation as c
from bench.peers import Peer
from bench.peers.ours import CONFIG, model, tools


class OursNull(Peer):
    title = "power-loop, no store"
    setting = "NullSink: keeps nothing"
    stores = False

    async def open(self, folder: Path, url: str | None, histories: Sequence[int]) -> None:
        from power_loop import AgentLoopConfig, ToolRegistry
        from power_loop.loop.turn import Gear
        from power_loop.transcript.view import Entry
        from power_loop.values import World

        self._model = model(url)
        config = AgentLoopConfig(**CONFIG)  # type: ignore[arg-type]
        self._gear = Gear(llm=self._model, tools=ToolRegistry.of(tools()), config=config, world=World())
        self._warm: dict[int, tuple[Any, int]] = {}
        for session, messages in enumerate(histories):
            entries = [
                Entry(
                    place=seq,
                    seq=seq,
                    role=message["role"],
                    wire=c.text_of(message),
                )
                for seq, message in enumerate(c.history(messages), start=1)
            ]
            self._warm[session] = (_warm(entries), len(entries) + 1)

    async def turn(self, session: int) -> None:
        await asyncio.create_task(self._turn(session, c.question(self.next_number())))

    async def _turn(self, session: int, text: str) -> None:
        from llm_client.messages import UserMessage, wire
        from power_loop.engine.facts import NewMessage
        from power_loop.engine.limits import Limits
        from power_loop.engine.turns import TurnState
        from power_loop.loop.drive import drive
        from power_loop.loop.reopen import kept, reopen
        from power_loop.loop.stop import StopSignal
        from power_loop.sink import NullSink, TeeSink
        from power_loop.store.contract import Begun, Claim
        from power_loop.values import SessionId

        warm, seq = self._warm.get(session) or (_warm(()), 1)
        number = warm.epoch + 1
        begun = Begun(
            claim=Claim(key=1, session=SessionId(f"s{session}"), epoch=number, turn=number),
            born=self._gear.world.micros(),
            origin=number,
            state=TurnState.ASKING,
            next_seq=seq + 1,
            active=len(warm.view) + 1,
            events=number,
            added=(NewMessage(seq=seq, role="user", body=wire(UserMessage(content=text))),),
            was=warm.epoch,
            rounds=0,
            tool_calls=0,
            calls=(),
            model=None,
        )
        turn = reopen(
            begun,
            warm,
            gear=self._gear,
            limits=Limits.of(self._gear.config),
            sink=TeeSink(NullSink()),
            stop=StopSignal(),
            listener=None,
            take_inputs=_none,
        )
        await drive(turn)
        self._warm[session] = (kept(turn, begun.claim), turn.next_seq)

    async def close(self) -> None:
        await self._model.aclose()

    @property
    def client_seconds(self) -> float | None:
        return self._model.spent


def _warm(entries: Sequence[Any]) -> Any:
    from power_loop.loop.reopen import Warm
    from power_loop.transcript.view import View

    return Warm(key=1, epoch=0, view=View(entries), context_tokens=0, may_fold=True)


async def _none() -> tuple[()]:
    return ()


PEER = OursNull
