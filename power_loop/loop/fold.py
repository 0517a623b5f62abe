"""A compaction inside a turn: strategies are tried, what is taken is one fact. It may fail; the turn goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from power_loop.compaction.ladder import Compaction, Tried, climb
from power_loop.compaction.strategies import ClearToolResults
from power_loop.compaction.window import Window
from power_loop.config import AgentLoopConfig
from power_loop.engine import facts as f
from power_loop.engine.limits import Limits
from power_loop.errors import ContextOverflowError, WindowTooSmallError
from power_loop.loop import hooked
from power_loop.loop.spending import within_budget
from power_loop.loop.summaries import Summaries
from power_loop.loop.turn import Turn

LAST_RESORT: Final = (ClearToolResults(keep=0),)
"""When the endpoint has refused a request and nothing else can go: results that the model has not even seen."""


async def fold(turn: Turn, *, full: bool = False) -> None:
    """Make room, or leave everything as it is.

    Summaries are asked for outside any transaction; marking the folded messages and storing what stands for them is one
    commit. If the process dies before it, nothing has changed. There is no second try until the provider has counted
    again. With `full` the next request may not fit: then what needs no model steps in where the rest has failed.

    Raises:
        WindowTooSmallError: what must stay does not fit the window.
        ContextOverflowError: the endpoint has refused the history as too long, and nothing can be folded.
        Stopped: somebody stopped the turn, or nothing more may be spent; nothing is folded.
    """
    await within_budget(turn)
    summaries = Summaries(turn.gear, turn.stop, model=turn.model, window=turn.limits.window)
    tokens, target = turn.snapshot.context_tokens, turn.limits.fold_to
    window = Window.of(
        turn.view,
        tokens=tokens,
        # An endpoint that gives no figures has only shown that this is too much.
        target=min(target, tokens // 2) if turn.snapshot.overflowed else target,
        kept=turn.requests,
        summarise=summaries,
        handle=turn.handle,
    )
    check_fits(window, turn.limits)
    if (reason := await hooked.compaction_start(turn, full=full)) is not None:
        await _failed(turn, window, Tried(None, [(hooked.BY, reason)]), ())
        return
    tried = await make_room(window, turn.gear.config, turn.limits, full=full)
    if tried.compaction is None and turn.snapshot.overflowed:
        tried = Tried((await climb(LAST_RESORT, window)).compaction, tried.failures)
    turn.stop.check()  # a strategy that was stopped has only seen a summary fail
    if tried.compaction is None:
        await _failed(turn, window, tried, summaries.spent)
        return
    turn.gear.world.reached("loop.fold")
    failed = [
        f.CompactionFailed(**turn.stamp, strategy=strategy, reason=reason) for strategy, reason in tried.failures[-1:]
    ]
    await turn.record(*failed, compacted(tried.compaction, turn.stamp, turn.next_seq, turn.limits.window, summaries))
    await hooked.compaction_end(turn, tried.compaction)


async def make_room(window: Window, config: AgentLoopConfig, limits: Limits, *, full: bool) -> Tried:
    """What becomes of the configured strategies, and of those for a full window if the others left it full."""
    tried = await climb(config.ladder, window)
    left = window.tokens if tried.compaction is None else tried.compaction.after_tokens
    if not full or (tried.compaction is not None and left < limits.full_at):
        return tried
    last = await climb(config.ladder_when_full, window)
    better = min(filter(None, (tried.compaction, last.compaction)), key=_left, default=None)
    return Tried(better, [*tried.failures, *last.failures])


def compacted(
    found: Compaction, stamp: f.Stamp, next_seq: int, window: int, summaries: Summaries
) -> f.HistoryCompacted:
    """The fact that a compaction is."""
    return f.HistoryCompacted(
        **stamp,
        folded=found.folded,
        notes=tuple(
            f.NewMessage(seq=next_seq + more, role=stead.role, body=stead.wire, place=stead.place)
            for more, stead in enumerate(found.steads)
        ),
        strategy=found.strategy,
        before_tokens=found.before_tokens,
        after_tokens=found.after_tokens,
        window=window,
        model=summaries.writer_of(found.steads[0].wire),
        model_calls=tuple(summaries.spent),
    )


def check_fits(window: Window, limits: Limits) -> None:
    """Raises `WindowTooSmallError` if the system prompt and pinned messages alone are surely larger than the window."""
    pinned = sum(
        window.measured([entry])
        for unit in window.units
        for entry in unit.entries
        if entry.pinned or entry.role == "system"
    )
    if limits.surely_over(pinned):
        raise WindowTooSmallError(pinned, limits.window)


async def _failed(turn: Turn, window: Window, tried: Tried, spent: Sequence[f.ModelCall]) -> None:
    strategy, reason = tried.failures[-1] if tried.failures else ("none", "nothing can be folded")
    overflowed = turn.snapshot.overflowed
    if tried.failures:
        failed = f.CompactionFailed(**turn.stamp, strategy=strategy, reason=reason, model_calls=tuple(spent))
        await turn.record(failed)
    else:
        turn.waits_for_a_count()
    if overflowed:
        refusal = turn.refusal
        assert refusal is not None
        stays = window.tokens - sum(unit.tokens for unit in window.units if not unit.kept)
        if stays > turn.limits.window:
            raise WindowTooSmallError(stays, turn.limits.window) from refusal
        raise ContextOverflowError(
            f"{refusal}; and no room could be made ({strategy}: {reason})",
            status=refusal.status,
            limit=refusal.limit,
            requested=refusal.requested,
        ) from refusal


def _left(compaction: Compaction) -> int:
    return compaction.after_tokens
