"""A compaction inside a turn: plan, ask for the note, record it as one fact. It may fail; the turn goes on."""

from __future__ import annotations

from dataclasses import replace

from power_loop.compaction.plan import Plan, plan
from power_loop.compaction.summary import note, summary_request
from power_loop.engine import facts as f
from power_loop.errors import ModelError
from power_loop.loop.model import answered
from power_loop.loop.turn import Turn
from power_loop.transcript.measure import tokens

STRATEGY = "summary"


async def fold(turn: Turn) -> None:
    """Fold the older history into a note by the model, or leave everything as it is.

    The note is asked for outside any transaction; marking the folded messages and storing the note is one commit. If
    the process dies before it, nothing has changed. There is no second try until the provider has counted again.

    Raises:
        Stopped: somebody stopped the turn; nothing is folded.
    """
    planned = plan(turn.view, request=turn.request_seq, keep_tokens=turn.limits.fold_at // 4)
    failure = "nothing can be folded" if planned is None else None
    if planned is not None:
        failure = await _fold(turn, planned)
    if failure is not None:
        turn.snapshot = replace(turn.snapshot, may_fold=False)
        turn.publish(f.CompactionFailed(**turn.stamp, strategy=STRATEGY, reason=failure))


async def _fold(turn: Turn, planned: Plan) -> str | None:
    """Why it failed, or None. What a summary cost is recorded also if it is of no use."""
    config, world = turn.gear.config, turn.gear.world
    request = summary_request(
        planned.folded,
        model=turn.model,
        max_chars=config.context_window,
        max_tokens=max(64, turn.limits.fold_at // 8),
        extra=config.extra,
    )
    begun = world.monotonic()
    try:
        heard = await turn.stop.run(answered(turn, request), config.summary_timeout)
    except TimeoutError:
        return f"the summary took more than {config.summary_timeout:g} s"
    except ModelError as error:
        return f"the summary failed: {error}"
    answer = heard.answer
    milliseconds = round((world.monotonic() - begun) * 1000)
    spent = f.ModelCall(purpose="summary", model=answer.model, usage=answer.usage, milliseconds=milliseconds)
    body = note(answer.message)
    size = 0 if body is None else tokens(body)
    if body is None or size >= planned.folded_tokens:
        await turn.record(f.AnswerDropped(**turn.stamp, model_call=spent))
        return "the summary was empty or asked for tools" if body is None else "the summary was no shorter"
    world.reached("loop.fold")
    before = turn.snapshot.context_tokens
    await turn.record(
        f.HistoryCompacted(
            **turn.stamp,
            folded=tuple(entry.seq for entry in planned.folded),
            note=f.NewMessage(seq=turn.next_seq, role="user", body=body, place=planned.place),
            strategy=STRATEGY,
            before_tokens=before,
            after_tokens=max(0, before - planned.folded_tokens) + size,
            model_call=spent,
        )
    )
    return None
