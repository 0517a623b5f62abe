"""Whether a turn may end with what the model has just said; if not, what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llm_client.messages import UserMessage, wire
from power_loop.errors import OutputInvalidError
from power_loop.loop.turn import Turn

REASKS: Final = 1
"""How often an answer of the wrong shape is asked for once more in a turn."""


@dataclass(frozen=True, slots=True)
class Objection:
    """The answer stands in the history, and behind it this note; the model is asked again."""

    text: str
    by: str
    """Which rule objects."""

    @property
    def body(self) -> str:
        """The wire text of the note."""
        return wire(UserMessage(content=self.text))


def wrong_output(turn: Turn, text: str) -> Objection | None:
    """An objection to an answer that is not of the shape the app wants; where it is, the turn has its output.

    Raises:
        OutputInvalidError: it is the second one in this turn; nothing of it is stored.
    """
    wanted = turn.brief.output
    if wanted is None:
        return None
    try:
        turn.output = wanted.read(text)
        return None
    except ValueError as error:
        problems = str(error)
    turn.reasked += 1
    if turn.reasked > REASKS:
        raise OutputInvalidError(
            f"the model answered {turn.reasked} times with what is not the output asked for; "
            f"resume() asks again; the last time:\n{problems}"
        )
    return Objection(
        f"This is not the output asked for:\n{problems}\n"
        f"Answer with nothing but one JSON object that fits this schema: {wanted.schema}",
        "output",
    )


def stopped_early(turn: Turn) -> Objection | None:
    """An objection to an answer without calls in a step in which a turn may not end."""
    stepping = turn.stepping
    guided = None if stepping is None else stepping.steps.premature(stepping.state, turn.gear.tools.names)
    if stepping is None or guided is None:
        return None
    stepping.state = guided.state
    return Objection(guided.text, "steps")
