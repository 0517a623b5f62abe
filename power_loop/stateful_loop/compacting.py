"""A compaction that the host asks for, outside any turn."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from power_loop.compaction.ladder import Strategy
from power_loop.compaction.window import Window
from power_loop.engine import facts as f
from power_loop.engine.limits import Limits
from power_loop.engine.turns import SessionState
from power_loop.errors import CompactionError, SessionArchivedError, SessionBusyError, SessionClosedError, SessionError
from power_loop.loop.fold import compacted, make_room
from power_loop.loop.gear import Gear
from power_loop.loop.reopen import view_of
from power_loop.loop.stop import StopSignal
from power_loop.loop.summaries import Summaries
from power_loop.store.contract import SessionStore
from power_loop.store.records import CompactionInfo
from power_loop.transcript.measure import CAREFUL
from power_loop.transcript.recall import Handle
from power_loop.values import SessionId


async def compact(
    store: SessionStore, gear: Gear, session: SessionId, strategies: Sequence[Strategy] | None, stop: StopSignal
) -> CompactionInfo | None:
    """Fold a session's history now; None if there is nothing to fold. What it cost is recorded, also if it failed.

    Nothing is held while a model writes the summary: the commit is refused if anybody had the session since it was
    read. So nobody waits for it, and if the process dies nothing has changed.

    Raises:
        SessionBusyError: somebody drives the session, or had it meanwhile; history is as they left it.
        CompactionError: every strategy failed; history is as it was.
    """
    info = await store.session_info(session)
    if info.state is SessionState.RUNNING:
        raise SessionBusyError(session, info.owner or "somebody", info.owner_since)
    if info.closed:
        raise SessionClosedError(session)
    if info.archived:
        raise SessionArchivedError(session)
    history = await store.history(session)
    config = gear.config
    limits = Limits.of(config).within(gear.rooms.get(info.model, config.room))
    if strategies is not None:
        config = config.model_copy(update={"compaction": tuple(strategies), "when_full": ()})
    view = view_of(history.messages, replay=gear.llm is not None and gear.llm.replay_reasoning)
    measure = gear.measures.get(info.model, CAREFUL)
    counted = None
    if history.counted is not None:
        counted = history.counted + view.tokens_after(history.counted_seq, measure)
    summaries = Summaries(gear, stop, model=info.model, window=limits.window)
    window = Window.of(
        view,
        tokens=counted,
        target=limits.fold_to,
        kept=view.unanswered(history.answered),
        open={call.key.seq for call in info.pending},
        summarise=summaries,
        handle=None if gear.recall is None else lambda seq: str(Handle(history.key, seq)),
    )
    # Asked for by a person: as little as can be is left, wherever the context stands now.
    window = replace(window, target=min(window.target, window.tokens // 2))
    tried = await make_room(window, config, limits, full=strategies is None and window.tokens >= limits.full_at)
    stamp: f.Stamp = {"session": session, "turn": info.turns}
    if tried.compaction is None:
        if not tried.failures:
            return None
        strategy, reason = tried.failures[-1]
        failed = f.CompactionFailed(**stamp, strategy=strategy, reason=reason, model_calls=tuple(summaries.spent))
        with suppress(SessionError):  # somebody has the session by now; that is no reason not to say why this failed
            await store.count_failed_compaction(session, failed)
        raise CompactionError(session, "; ".join(f"{name}: {reason}" for name, reason in tried.failures))
    gear.world.reached("loop.fold")
    fact = compacted(tried.compaction, stamp, info.messages + 1, limits.window, summaries)
    return await store.compact_session(session, history.epoch, fact)
