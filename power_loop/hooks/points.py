"""The points of a turn at which guards are asked and observers told, in the order in which a turn passes them.

On resume a turn passes them as a live one does. Each says when it is passed and what its verdicts mean there; at every
point `Proceed` goes on and `Stop` ends the turn as `stopped`, in a history that is valid for the provider.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar, cast, get_args

from power_loop.hooks import replacing
from power_loop.hooks import views as v
from power_loop.hooks.verdicts import Deny, Proceed, ReplaceArguments, ReplaceRequest, ReplaceText, Retry, Skip, Stop

V = TypeVar("V", bound=v.View)
D = TypeVar("D")


@dataclass(frozen=True, eq=False, repr=False)
class Point(Generic[V, D]):
    """A place where hooks run: the view they get, the verdicts it takes. The constants of this module are all there
    are."""

    name: str
    view: type[V]
    verdicts: tuple[type, ...]
    closed: Callable[[V, str], D]
    """What a guard that fails means here: the verdict in its place, from the view and the reason."""
    replaced: Callable[[V, object], V] = replacing.nothing
    """The view with a replacement in it. Raises `ValueError` where it does not fit."""

    @property
    def proceed(self) -> D:
        return cast("D", Proceed())  # every point takes it

    def __repr__(self) -> str:
        return self.name


TurnStartVerdict: TypeAlias = Proceed | Stop
MemoryRecallVerdict: TypeAlias = Proceed | ReplaceText | Stop
RoundStartVerdict: TypeAlias = Proceed | Stop
ModelRequestVerdict: TypeAlias = Proceed | ReplaceRequest | Skip | Stop
ModelAnswerVerdict: TypeAlias = Proceed | ReplaceText | Retry | Stop
BatchStartVerdict: TypeAlias = Proceed | Deny | Stop
CallStartVerdict: TypeAlias = Proceed | ReplaceArguments | Deny | Skip | Stop
CallEndVerdict: TypeAlias = Proceed | ReplaceText | Stop
CallErrorVerdict: TypeAlias = Proceed | ReplaceText | Retry | Stop
BatchEndVerdict: TypeAlias = Proceed | Stop
RoundEndVerdict: TypeAlias = Proceed | Stop
CompactionStartVerdict: TypeAlias = Proceed | Skip | Stop
CompactionEndVerdict: TypeAlias = Proceed
MessageAppendVerdict: TypeAlias = Proceed | ReplaceText | Stop
TurnEndVerdict: TypeAlias = Proceed | Retry


def _stop(view: v.View, reason: str) -> Stop:
    return Stop(reason)


def _withheld(view: v.View, reason: str) -> ReplaceText:
    return ReplaceText(f"[This result was withheld: {reason}]")


def _kept_out(view: v.MessageAppend, reason: str) -> MessageAppendVerdict:
    """A call that ran has to be answered; any other message can stay out."""
    return _withheld(view, reason) if view.role == "tool" else Stop(reason)


def _goes_on(view: v.View, reason: str) -> Proceed:
    return Proceed()


def _denied(view: v.View, reason: str) -> Deny:
    return Deny(reason)


TURN_START: Final[Point[v.TurnStart, TurnStartVerdict]] = Point(
    "TURN_START", v.TurnStart, get_args(TurnStartVerdict), closed=_stop
)
"""First of all in a turn, new or resumed; the input it works on is stored.

`Stop`: the model is not asked; the input stays, open calls stay open, and `resume` goes on with both.
"""

MEMORY_RECALL: Final[Point[v.MemoryRecall, MemoryRecallVerdict]] = Point(
    "MEMORY_RECALL", v.MemoryRecall, get_args(MemoryRecallVerdict), closed=_stop, replaced=replacing.recalled
)
"""Before the first request for an input, also one that steers: what does the app remember that belongs to it? On resume
too, as long as neither an answer to the input nor its note is stored. `text` is of all input that nobody was asked
about.

`ReplaceText`: the text is stored as a note behind the input, under the line `[From memory]`, before the model is asked.
A later guard sees it as `recalled`, and what it gives stands in its place.
"""

ROUND_START: Final[Point[v.RoundStart, RoundStartVerdict]] = Point(
    "ROUND_START", v.RoundStart, get_args(RoundStartVerdict), closed=_stop
)
"""At the beginning of each round, before history is folded or the model asked; `round` is the one that begins. Also
before the wrap-up at the limit of rounds.

`Stop`: the model is not asked; every call so far has its result.
"""

MODEL_REQUEST: Final[Point[v.ModelRequest, ModelRequestVerdict]] = Point(
    "MODEL_REQUEST", v.ModelRequest, get_args(ModelRequestVerdict), closed=_stop, replaced=replacing.request
)
"""Before each request for an answer, a repeated one included; not before summaries, nor before the retries of the
client within one request.

`ReplaceRequest`: that is sent, this once; what is stored stays as it is. A request whose history an endpoint would
refuse counts as a failure of the guard. `Skip`: the model is not asked, and the text is the last word of the turn, of
the model `hook`; it costs nothing. `Stop`: the model is not asked.
"""

MODEL_ANSWER: Final[Point[v.ModelAnswer, ModelAnswerVerdict]] = Point(
    "MODEL_ANSWER", v.ModelAnswer, get_args(ModelAnswerVerdict), closed=_stop, replaced=replacing.answer
)
"""When an answer has come whole, before it is stored; also an empty one, which is not. What was streamed of it is out
already.

`ReplaceText`: stored in the place of the answer's text; its calls stay. `Retry`: the answer is thrown away, its cost
counted, and the same request made again. `Stop`: the answer is thrown away, its cost counted.
"""

BATCH_START: Final[Point[v.BatchStart, BatchStartVerdict]] = Point(
    "BATCH_START", v.BatchStart, get_args(BatchStartVerdict), closed=_denied
)
"""Before calls are taken up together: the calls of an answer, and on resume those of it that never ran and wait for
nobody. They are in the ledger by now, and nothing of them is checked or asked about yet.

`Deny`: none of them runs; the reason is the result of each, and the model is asked what to do then. `Stop`: none of
them runs; they stay open, `resume` or `abort_pending` goes on.
"""

CALL_START: Final[Point[v.CallStart, CallStartVerdict]] = Point(
    "CALL_START", v.CallStart, get_args(CallStartVerdict), closed=_denied, replaced=replacing.arguments
)
"""Before each run of a call, a repeated one included, once its tool is found and takes its arguments, and before it is
recorded as started. A call that may need an approval passes it before anybody is asked, so that a person is asked about
what guards left of it; once it is approved and runs, it passes again, and shows what was approved.

`ReplaceArguments`: the function gets these, if the tool takes them, and else the call fails; the message that asks for
the call keeps the model's, and its result says what it ran with. Of an approved call nothing else runs than what was
approved: other arguments than those, compared as JSON, are a denial. `Deny`: it does not run, the reason is its result.
`Skip`: it does not run, the text is its result. A call that was started before, and is not run again, has failed: it
may have happened. `Stop`: it does not run and stays open.
"""

CALL_END: Final[Point[v.CallEnd, CallEndVerdict]] = Point(
    "CALL_END", v.CallEnd, get_args(CallEndVerdict), closed=_withheld, replaced=replacing.result
)
"""Before a result is stored, however it came: the call ran, failed, was refused, denied, skipped, reconciled or
reported as in doubt. Not where somebody gave, denied or aborted it outside a turn.

`ReplaceText`: stored in its place, its state stays. `Stop`: the result is stored as it is, and the turn ends once those
that run beside it have theirs. A guard that fails, or that has not decided when the turn is stopped: a notice is stored
in its place.
"""

CALL_ERROR: Final[Point[v.CallError, CallErrorVerdict]] = Point(
    "CALL_ERROR", v.CallError, get_args(CallErrorVerdict), closed=_withheld, replaced=replacing.error
)
"""When a function raised or took too long, before `CALL_END`.

`ReplaceText`: the result in its place; the call has failed or timed out all the same. `Retry`: it is started once more,
under the same idempotency key, and passes `CALL_START` before; whoever retries a call of effect `once` says that
repeating it is safe. `Stop`: the error is its result, and the turn ends as at `CALL_END`.
"""

BATCH_END: Final[Point[v.BatchEnd, BatchEndVerdict]] = Point(
    "BATCH_END", v.BatchEnd, get_args(BatchEndVerdict), closed=_stop
)
"""When the calls of a `BATCH_START` that went on have their results, all in one turn; not where one of them ended it.

`Stop`: the results stay; the model is not asked.
"""

ROUND_END: Final[Point[v.RoundEnd, RoundEndVerdict]] = Point(
    "ROUND_END", v.RoundEnd, get_args(RoundEndVerdict), closed=_stop
)
"""When every call of the round is answered; not after the last word, which `TURN_END` follows.

`Stop`: the model is not asked.
"""

COMPACTION_START: Final[Point[v.CompactionStart, CompactionStartVerdict]] = Point(
    "COMPACTION_START", v.CompactionStart, get_args(CompactionStartVerdict), closed=lambda view, reason: Skip(reason)
)
"""Before history is folded within a turn.

`Skip`: nothing is folded, as if every strategy had failed with this reason, and there is no second try until the
provider has counted again. `Stop`: nothing is folded, the model is not asked.
"""

COMPACTION_END: Final[Point[v.CompactionEnd, CompactionEndVerdict]] = Point(
    "COMPACTION_END", v.CompactionEnd, (Proceed,), closed=_goes_on
)
"""When history was folded within a turn: done is done, so this is a point for observers."""

MESSAGE_APPEND: Final[Point[v.MessageAppend, MessageAppendVerdict]] = Point(
    "MESSAGE_APPEND", v.MessageAppend, get_args(MessageAppendVerdict), closed=_kept_out, replaced=replacing.message
)
"""Before a message is stored: an input (also one that steers), an answer after `MODEL_ANSWER`, a result after
`CALL_END`, a note of `MEMORY_RECALL` or `TURN_END`. `text` is the text in it, of a result the whole, before it is shown
in short; images, files and calls are not in the view and stay. An input passes it once, in `send`, before there is a
turn (`turn` and `round` are 0). Not for what somebody decides or gives outside a turn, nor for the loop's other notes.

`ReplaceText`: stored in its place. `Stop`: the message is not stored, but for a result, which is stored as it is: its
call has run. Of an input it is an `InputInvalidError` of `send`, and nothing is written; of an answer its cost is
counted. A guard that fails: `Stop`, and for a result a notice in its place.
"""

TURN_END: Final[Point[v.TurnEnd, TurnEndVerdict]] = Point(
    "TURN_END", v.TurnEnd, get_args(TurnEndVerdict), closed=_goes_on
)
"""When the model has said its last word, before it is stored as that; not at the limit of rounds, nor where a call
ended the turn, or it was stopped, failed or parked.

`Retry`: the answer is stored, and behind it the reason as a note for the model; the turn goes on as far as its limits
let it. A guard that fails, or that has not decided when the turn is stopped: the turn ends, completed.
"""

POINTS: Final[tuple[Point[v.View, object], ...]] = cast(
    "tuple[Point[v.View, object], ...]",
    (
        *(TURN_START, MEMORY_RECALL, ROUND_START, MODEL_REQUEST, MODEL_ANSWER, BATCH_START, CALL_START, CALL_ERROR),
        *(CALL_END, BATCH_END, ROUND_END, COMPACTION_START, COMPACTION_END, MESSAGE_APPEND, TURN_END),
    ),
)
