"""Subjects: the SQLite store with one promise about calls that wait broken each; see `broken_stores`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from power_loop.engine import facts as f
from power_loop.engine.turns import SessionState
from power_loop.errors import (
    ApprovalDecidedError,
    ApprovalExpiredError,
    CallNotFoundError,
    CallSettledError,
    EpochLostError,
    PowerLoopError,
    SessionBusyError,
    StateError,
)
from power_loop.store.contract import Begun, Claim, HostResult, Known, Said
from power_loop.store.records import CallInfo, WaitInfo
from power_loop.values import SessionId
from tests.testing.broken_stores import BrokenRules, Sound


class SoundWaits(Sound):
    async def first(self, session: SessionId) -> WaitInfo:
        waits: list[WaitInfo] = await self.real.waits(session, decided=True)
        return waits[0]

    async def runs(self, session: SessionId) -> bool:
        return (await self.real.session_info(session)).state is SessionState.RUNNING

    async def decided_but_for(self, session: SessionId, call: str, said: Said, error: type[PowerLoopError]) -> WaitInfo:
        """The decision; where it is refused so, as if it were not."""
        try:
            done: WaitInfo = await self.real.decide_approval(session, call, said)
        except error:
            return await self.first(session)
        return done


class Leaves(SoundWaits):
    """Leaves facts out that it takes in."""

    without: type[f.Fact] = f.Fact

    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        kept = [fact for fact in facts if not isinstance(fact, self.without)]
        if kept:
            await self.real.record(claim, kept)


class BindsToNothing(SoundWaits):
    async def waits(self, session: SessionId | None, *, decided: bool) -> list[WaitInfo]:
        return [replace(wait, arguments_hash="") for wait in await self.real.waits(session, decided=decided)]


class StartsWhatWaits(SoundWaits):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        try:
            await self.real.record(claim, facts)
        except StateError:
            if not isinstance(facts[0], f.CallsStarted):
                raise


class AsksForTheRobbed(SoundWaits):
    async def record(self, claim: Claim, facts: Sequence[f.Fact]) -> None:
        try:
            await self.real.record(claim, facts)
        except EpochLostError:
            if not isinstance(facts[0], f.ApprovalsRequested):
                raise


class RunsWhatTheModelWrote(SoundWaits):
    async def resume_turn(self, session: SessionId, decisions: Mapping[str, str], **how: Any) -> Begun | Known:
        got: Begun | Known = await self.real.resume_turn(session, decisions, **how)
        return got if isinstance(got, Known) else replace(got, calls=tuple(map(self._unchanged, got.calls)))

    @staticmethod
    def _unchanged(call: CallInfo) -> CallInfo:
        return call if call.approval is None else replace(call, approval=replace(call.approval, changed=None))


class DeniesInMemory(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> WaitInfo:
        if not said.approved:
            return await self.first(session)
        done: WaitInfo = await self.real.decide_approval(session, call, said)
        return done


class LetsTheLastDecisionStand(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> WaitInfo:
        return await self.decided_but_for(session, call, said, ApprovalDecidedError)


class DecidesUnseen(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> Any:
        return await self.real.decide_approval(session, call, replace(said, seen=None))


class NeverExpires(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> WaitInfo:
        return await self.decided_but_for(session, call, said, ApprovalExpiredError)


class TakesAnyCall(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> WaitInfo:
        return await self.decided_but_for(session, call, said, CallNotFoundError)


class SpendsApprovalsTwice(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> WaitInfo:
        return await self.decided_but_for(session, call, said, CallSettledError)


class ForgetsWhoItWaitsFor(SoundWaits):
    async def resume_turn(self, session: SessionId, decisions: Mapping[str, str], **how: Any) -> Begun | Known:
        got: Begun | Known = await self.real.resume_turn(session, decisions, **how)
        return replace(got, turn=None) if isinstance(got, Known) else got


class LosesWhatIsSaidWhileATurnRuns(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> Any:
        if await self.runs(session):
            return await self.first(session)
        return await self.real.decide_approval(session, call, said)


class TakesTheDeadAway(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> Any:
        await self.real.interrupt_session(session)
        return await self.real.decide_approval(session, call, said)


class OutdatesNobody(SoundWaits):
    async def history(self, session: SessionId) -> Any:
        return replace(await self.real.history(session), epoch=1)


class AnswersOneByOne(SoundWaits):
    async def submit_results(self, session: SessionId, results: Mapping[str, HostResult]) -> None:
        for call, result in results.items():
            await self.real.submit_results(session, {call: result})


class KeepsThePartAlone(SoundWaits):
    async def submit_results(self, session: SessionId, results: Mapping[str, HostResult]) -> None:
        short = {call: replace(one, content=one.part or one.content) for call, one in results.items()}
        await self.real.submit_results(session, short)


class KnowsOneWaitACall(SoundWaits):
    async def waits(self, session: SessionId | None, *, decided: bool) -> list[WaitInfo]:
        found = await self.real.waits(session, decided=decided)
        return list({wait.key: wait for wait in found}.values())


class RetriesWhatIsTheHosts(SoundWaits):
    async def resume_turn(self, session: SessionId, decisions: Mapping[str, str], **how: Any) -> Any:
        try:
            return await self.real.resume_turn(session, decisions, **how)
        except CallSettledError:
            return await self.real.resume_turn(session, {}, **how)


class LetsDriversHoldDecisionsUp(SoundWaits):
    async def decide_approval(self, session: SessionId, call: str, said: Said) -> Any:
        if await self.runs(session):
            raise SessionBusyError(session, "somebody", None)
        return await self.real.decide_approval(session, call, said)


class LosesNotes(Leaves):
    without = f.Noted


class LosesAnswersThatGoOn(Leaves):
    without = f.AnswerContinued


class ForgetsWhatRulesRemember(Leaves):
    without = f.RulesRemembered


class NeverEndsByACall(Leaves):
    without = f.TurnCompleted


def _below(kind: type[Sound]) -> list[type[Sound]]:
    return [kind, *(one for sub in kind.__subclasses__() for one in _below(sub))]


for _subject in _below(SoundWaits):
    globals()[f"Test{_subject.__name__}"] = type(f"Test{_subject.__name__}", (BrokenRules,), {"subject": _subject})
