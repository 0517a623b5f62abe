"""What a store promises: each method is one transaction, acknowledged once it is on stable storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from power_loop.engine.calls import OpenCall
from power_loop.engine.facts import CompactionFailed, Fact, HistoryCompacted
from power_loop.store.listing import Listing
from power_loop.store.reads import History
from power_loop.store.records import (
    CallInfo,
    CompactionInfo,
    QueuedInput,
    SessionInfo,
    StoredMessage,
    TurnInfo,
    UsageInfo,
    WaitInfo,
)
from power_loop.store.replaying import EventPage
from power_loop.store.spending import Spending
from power_loop.store.transactions.begin import Begun, Claim, Input, Known, Waiting
from power_loop.store.transactions.manage import NewSession
from power_loop.store.transactions.resume import Quarantined
from power_loop.store.transactions.settle import Resolution
from power_loop.store.transactions.taking import Taken
from power_loop.store.transactions.waits import HostResult, Said
from power_loop.values import SessionId

__all__ = [
    "Begun",
    "Claim",
    "EventPage",
    "History",
    "HostResult",
    "Input",
    "Known",
    "Listing",
    "NewSession",
    "Quarantined",
    "Resolution",
    "Said",
    "SessionStore",
    "Spending",
    "Taken",
    "Waiting",
]


class SessionStore(Protocol):
    """Where sessions live.

    Every method raises only `PowerLoopError`s and, where it raises, has changed nothing. A cancelled caller of a
    writing method is held until the outcome is known.
    """

    @property
    def path(self) -> str:
        """Which database this is, for people."""
        ...

    async def create_session(self, new: NewSession) -> None: ...

    async def begin_turn(self, wanted: Input, *, ahead: bool = False) -> Begun | Known | Waiting:
        """Claim a session for a turn on a new input. See `transactions.begin.begin_turn`.

        With `ahead` a `Begun` may come before it is on stable storage, once nothing but the commit can fail; its
        `stored` says when it is, or why it never will be (then the state is as before). Until then a model may be asked
        on the strength of it, and nothing else may happen.
        """
        ...

    async def resume_turn(
        self,
        session: SessionId,
        decisions: Mapping[str, str],
        *,
        only_orphan: bool = False,
        force: bool = False,
        origin: int | None = None,
        max_recoveries: int | None = None,
        accept: Callable[[Sequence[CallInfo]], None] | None = None,
    ) -> Begun | Known | Quarantined:
        """Claim a session to go on from its last turn. See `transactions.resume.resume_turn`."""
        ...

    async def queue_input(self, wanted: Input) -> Known | Waiting:
        """Make an input durable while a turn runs. See `transactions.begin.queue_input`."""
        ...

    async def begin_next(
        self, session: SessionId, number: int | None, *, abort_reason: str | None = None
    ) -> Begun | Known | None:
        """Claim a session for the input that has waited longest. See `transactions.begin.begin_next`."""
        ...

    async def take_inputs(self, claim: Claim) -> Taken:
        """Make the inputs that steer a turn of ours part of it, at a round boundary; their messages."""
        ...

    async def withdraw_input(self, session: SessionId, number: int) -> bool:
        """Take an input out of the inbox again; False if it does not wait there (any more)."""
        ...

    async def queued_inputs(self, session: SessionId) -> list[QueuedInput]: ...

    async def unattended(self) -> list[SessionId]:
        """Sessions that nobody drives, in which input waits whose sender is dead, and nothing stands in its way."""
        ...

    async def steered(self) -> list[SessionId]:
        """Sessions in which input waits to be taken in by the turn that runs."""
        ...

    async def free_session(self, session: SessionId) -> bool:
        """Let a quarantined session be taken up again; False if it is none."""
        ...

    async def record(self, claim: Claim, facts: Sequence[Fact]) -> int:
        """Commit facts of a turn of ours together, as events; the number of the last one.

        Raises `EpochLostError` if the turn is ours no more.
        """
        ...

    def release(self, claim: Claim) -> None:
        """Say that nothing here drives this turn any more, whether its end could be recorded or not."""
        ...

    async def abort_pending(self, session: SessionId, reason: str, *, force: bool = False) -> list[str]: ...

    async def resolve_call(self, session: SessionId, call_id: str, said: Resolution) -> None: ...

    async def decide_approval(self, session: SessionId, call_id: str, said: Said) -> WaitInfo:
        """Record a person's word about a call that waits for it. See `transactions.waits.decide_approval`."""
        ...

    async def submit_results(self, session: SessionId, results: Mapping[str, HostResult]) -> None:
        """Record results that the host gives. See `transactions.waits.submit_results`."""
        ...

    async def interrupt_session(self, session: SessionId, *, abort_reason: str | None = None) -> TurnInfo | None: ...

    async def archive_session(self, session: SessionId, archived: bool) -> None: ...

    async def close_session(self, session: SessionId, cascade: bool) -> list[str]: ...

    async def delete_session(self, session: SessionId) -> list[str]:
        """The ids deleted: its own and those below it."""
        ...

    async def request_stop(self, session: SessionId, reason: str) -> bool: ...

    async def session_info(self, session: SessionId) -> SessionInfo: ...

    async def list_sessions(self, which: Listing) -> list[SessionInfo]: ...

    async def find_session(self, prefix: str) -> SessionId: ...

    async def history(self, session: SessionId) -> History:
        """What the model sees. Raises `StoreDamagedError` unless all of it is there as it was written."""
        ...

    async def messages(
        self, session: SessionId, *, include_compacted: bool, mark_damage: bool
    ) -> list[StoredMessage]: ...

    async def message(self, session: SessionId, seq: int) -> StoredMessage | None: ...

    async def output(self, session: SessionId, handle: str) -> str:
        """The exact text of a result of this session or of one of its tree. See `reads.output`."""
        ...

    async def pending(self, session: SessionId) -> list[OpenCall]: ...

    async def calls(self, session: SessionId) -> list[CallInfo]: ...

    async def waits(self, session: SessionId | None, *, decided: bool) -> list[WaitInfo]:
        """What open calls of a session, or of all, wait for somebody outside with; all that ever was with `decided`."""
        ...

    async def calls_of_answer(self, session: SessionId, seq: int) -> list[CallInfo]:
        """The calls that one answer asks for, in their order."""
        ...

    async def spending(self, session: SessionId, origin: int, besides: int, *, tree: bool) -> Spending:
        """What was spent on an input, in its session and its tree, but for one turn. See `spending.spending`."""
        ...

    async def memories(self, session: SessionId) -> dict[str, str]:
        """What rules remember of a session, JSON texts by their names."""
        ...

    async def events(self, session: SessionId, after: int, limit: int) -> EventPage:
        """At most `limit` of what happened in a session since its event `after`. See `replaying.events`.

        Every method that reports facts stores them, numbered on without a gap, in the commit of what they report.
        """
        ...

    async def compact_session(self, session: SessionId, epoch: int, fact: HistoryCompacted) -> CompactionInfo:
        """Fold history outside a turn. See `transactions.compact.compact_session`."""
        ...

    async def count_failed_compaction(self, session: SessionId, fact: CompactionFailed) -> None:
        """Write down that a compaction outside a turn failed, and what it cost."""
        ...

    async def undo_compaction(self, session: SessionId) -> CompactionInfo:
        """Put back what the latest compaction that stands has folded."""
        ...

    async def compactions(self, session: SessionId) -> list[CompactionInfo]: ...

    async def turns(self, session: SessionId) -> list[TurnInfo]: ...

    async def usage(self, session: SessionId, turn: int | None) -> list[UsageInfo]: ...

    async def orphans(self) -> list[SessionId]: ...

    async def changed(self) -> int:
        """A number that differs whenever anybody committed anything since; cheap enough to ask often."""
        ...

    async def stops_requested(self) -> list[tuple[SessionId, int, str]]: ...

    async def aclose(self) -> None:
        """Commit what waits and give everything back; closing twice does nothing.

        Its owner counts as dead from here on: turns of its that never ended are orphans.
        """
        ...
