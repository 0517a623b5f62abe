"""The demo's story in words: read once, from the top, in half a minute."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from power_loop.cli.demo.agent import AMOUNT, REQUEST
from power_loop.cli.demo.story import Claim, SeenCall, Story
from power_loop.cli.output import bold, coloured, dim, line, show


def opening(story: Story) -> None:
    show(bold("power-loop demo: an agent is killed in the middle of a payment.") + " No key, no network.")
    show()
    show(f"   store   {line(str(story.db))}  (one SQLite file)")
    show(f"   model   scripted, on a real HTTP server ({story.url}); the real openai client asks it")
    show("   tools   look_up_invoice (read), send_payment (once: never run twice), write_receipt (idempotent)")


def crashed(story: Story) -> None:
    show()
    show(f'{bold("1  THE CRASH")}  Process {story.victim} runs one turn: "{REQUEST}"')
    show("   The model asks for three calls: look_up_invoice, send_payment, write_receipt.")
    show(f"   The money has left, send_payment has not returned ...  {coloured('bad', f'kill -9 {story.victim}')}")


def found(story: Story) -> None:
    show()
    show(f"{bold('2  THE FILE KNOWS')}  Process {story.heir} opens it; a new send() is refused, changing nothing:")
    refusal = coloured("bad", "SessionPendingError")
    show(f"   {refusal} [session.pending]: resume the calls that are open, or abort them.")
    _calls(story.found, _FOUND)


def resumed(story: Story) -> None:
    show()
    show(f"{bold('3  IT GOES ON')}  with  await loop.resume(session)")
    known = {call.key for call in story.found if call.state == "succeeded"}
    first = [call.key for call in story.found]
    _calls([call for call in story.settled if call.key in first and call.key not in known], _RESUMED)
    show("   So the model checks before it does anything again, and finds the payment:")
    for call in story.settled:
        if call.key not in first:
            show(f"     {call.name:<16} {coloured(call.state)}   {line(call.result, 60)}")
    show(f'   and answers: "{line(story.answer)}"')


def checked(story: Story, claims: Sequence[Claim]) -> None:
    paid = sum(entry.what == "money left" for entry in story.ledger.read())
    starts = Counter(entry.tool for entry in story.ledger.read() if entry.what == "start")
    show()
    show(f"{bold('4  CHECKED')}  against a ledger that the tools write themselves, each line fsynced:")
    show(
        f"   send_payment entered {_times(starts['send_payment'])}, {AMOUNT} EUR left {_times(paid)}; "
        f"write_receipt entered {_times(starts['write_receipt'])}"
    )
    for claim in claims:
        show(f"   {coloured('ok', 'ok  ') if claim.true else coloured('bad', 'NOT ')} {claim.words}")


def look(story: Story) -> None:
    db = shlex.quote(str(story.db))
    session = story.session
    show()
    show(f"{bold('LOOK AT IT')}  The file stays. Any SQLite tool reads it, and so does power-loop:")
    show(f'   sqlite3 {db} "SELECT at, what, detail FROM v_timeline"')
    show(f'   sqlite3 {db} "SELECT * FROM v_pending_calls"  {dim("# empty again")}')
    show(f"   power-loop show {session} --db {db}")


_FOUND = {
    "succeeded": "finished: it has its result and never runs again",
    "in_doubt": "started, no result: it may have happened, so it is not simply repeated",
    "requested": "never started: it is safe to run",
}
_RESUMED = {
    "reported": "not run again: the model is told that its outcome is unknown",
    "succeeded": "run now, for the first time",
}


def _calls(calls: Sequence[SeenCall], means: dict[str, str]) -> None:
    for call in calls:
        state = call.state.replace("_", " ")
        show(f"     {call.name:<16} {coloured(call.state, f'{state:<10}')}  {means.get(call.state, '')}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
