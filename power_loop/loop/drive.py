"""A turn, from where it stands to its end. Begin reading here.

The engine decides, the steps do, and every step records what it did before the next one depends on it.
"""

from __future__ import annotations

from typing import Final

from llm_client.errors import ModelError
from power_loop.engine import facts as f
from power_loop.engine.decide import (
    AskApprovals,
    AskModel,
    CloseRound,
    Compact,
    Park,
    Rest,
    RunCalls,
    TakeInputs,
    Watch,
    decide,
)
from power_loop.loop import hooked
from power_loop.loop.accounting import account
from power_loop.loop.act import act
from power_loop.loop.approvals import ask_approvals
from power_loop.loop.ask import ask
from power_loop.loop.fold import fold
from power_loop.loop.steer import take_in
from power_loop.loop.stop import Stopped
from power_loop.loop.turn import Ending, Turn
from power_loop.loop.watching import watch
from power_loop.values import Status, cleaned

_WAITS: Final = {
    Status.PENDING_TOOLS: "in doubt wait for a person; resolve() them, then resume()",
    Status.AWAITING_APPROVAL: "wait for an approval; approve() or deny() them, then resume()",
    Status.WAITING_FOR_INPUT: "wait for their results; submit_results() goes on",
}


async def drive(turn: Turn) -> Ending:
    """Run a turn until it rests; how it ended.

    If the process dies anywhere in here, what was recorded stands, and the turn is found live without an owner.

    Raises:
        ModelError: no usable answer could be had; the turn is recorded as failed, the input stays.
        EpochLostError: another process took the session over; nothing more was recorded.
        StoreError: the store refused; nothing more was recorded.
    """
    try:
        await hooked.turn_start(turn)
        await account(turn)
        while not isinstance(step := decide(turn.snapshot, turn.limits), Rest):
            turn.stop.check()
            if not await hooked.before(turn, step):
                continue
            match step:
                case AskModel(wrap_up):
                    await ask(turn, wrap_up=wrap_up)
                case AskApprovals(calls):
                    await ask_approvals(turn, calls)
                case RunCalls(batch):
                    await act(turn, batch)
                case CloseRound():
                    await turn.record(f.RoundClosed(**turn.stamp, round=turn.snapshot.rounds))
                case Watch():
                    await watch(turn)
                case TakeInputs():
                    await take_in(turn)
                case Compact(full):
                    await fold(turn, full=full)
                case Park(calls, status):
                    await _park(turn, len(calls), status)
    except Stopped as stopped:
        await _stop(turn, stopped)
    except ModelError as error:
        await turn.record(f.TurnFailed(**turn.stamp, error_code=error.code, error=cleaned(str(error))))
        raise
    assert turn.ending is not None
    return turn.ending


async def _park(turn: Turn, calls: int, status: Status) -> None:
    reason = f"{calls} call(s) {_WAITS[status]}"
    await turn.record(f.TurnParked(**turn.stamp, status=status, stop_reason=reason))
    turn.ending = Ending(status, reason, "")


async def _stop(turn: Turn, stopped: Stopped) -> None:
    stop = stopped.stop
    await turn.record(f.TurnCancelled(**turn.stamp, status=stop.status, stop_reason=stop.reason))
    turn.ending = Ending(stop.status, stop.reason, "")
