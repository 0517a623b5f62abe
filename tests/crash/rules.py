"""People and rules in one session: what `tests.crash.people` asks, and a step, a nudge, a budget that ends a turn.

The model looks around, which moves the session from `plan` to `act`; a watcher nudges; in `act` the calls wait for
people. A second input ends with a call of `complete`; on a third one the model runs in circles until the turn's budget
is spent, over however many processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from power_loop import AgentLoopConfig, StatefulAgentLoop, complete_tool
from power_loop.rules import CONTINUE, Budget, Budgets, Move, Nudge, RoundSeen, Step, Steps, Watched, called
from power_loop.testing import Asked, Client, Reply, Scenario, ScriptedModel
from power_loop.testing.crash import Evidence
from tests.crash import people

NAME: Final = "tests.crash.rules:scenario"
SESSION: Final = people.SESSION
NUDGE: Final = "Mind the budget."
GUIDANCE: Final = "Look around first."
ROUNDS: Final = 4
"""A turn's budget: what `work` needs (an answer too early, looking around, the work, the last word)."""


class Outcome(BaseModel):
    """What came of it."""

    words: str


class Nudger:
    """Nudges once in a session, after the first round with calls."""

    name = "nudger"

    def watch(self, seen: RoundSeen, memory: Any) -> Watched:
        nudged = bool(memory)
        return Watched(Nudge(NUDGE) if seen.calls and not nudged else CONTINUE, nudged or bool(seen.calls))


def config() -> AgentLoopConfig:
    return AgentLoopConfig(
        watchers=[Nudger()],
        budgets=Budgets(turn=Budget(rounds=ROUNDS)),
        steps=Steps(
            [Step("plan", allow=("look",), guidance=GUIDANCE), Step("act", block=("look",), final=True)],
            moves=[Move("plan", "act", called("look"))],
        ),
    )


def model(asked: Asked) -> Reply:
    """By the input that is worked on, and by what was said last: an input, a note of a rule, or a result."""
    texts = [message["content"] for message in asked.messages if message["role"] == "user"]
    given = next(text for text in reversed(texts) if text not in (GUIDANCE, NUDGE))
    said = asked.last_user_text
    if given == "more":
        return Reply(calls=Reply.calling(("look", {"what": "again"})).calls)
    if asked.last == "user" and said == GUIDANCE:
        return Reply(calls=Reply.calling(people.WORK[0]).calls)
    if asked.last == "user" and given == "work":
        return Reply(calls=Reply.calling(*people.WORK).calls) if said == NUDGE else Reply(text="Is it done?")
    if asked.last == "user" and given == "report":
        return Reply(calls=Reply.calling(("complete", {"words": "all of it"})).calls)
    return Reply(text="Done.")


def build(client: Client) -> StatefulAgentLoop:
    return StatefulAgentLoop(
        llm=ScriptedModel(model),
        tools=[*people.tools(client), complete_tool(Outcome)],
        config=config(),
        db_path=client.db_path,
        world=client.world,
    )


async def work(client: Client, loop: StatefulAgentLoop) -> None:
    await client.create(loop, SESSION)
    await client.send(loop, "work", SESSION, request_id="work")
    await client.attended(loop, SESSION, people.people)
    await client.send(loop, "report", SESSION, request_id="report")
    await client.send(loop, "more", SESSION, request_id="more")
    await client.send(loop, "report", SESSION, request_id="report again")


def check(found: Evidence) -> Iterator[str]:
    """What people approved, and: one nudge, the step that was reached, no round over the budget."""
    yield from people.done_as_approved(found)
    for session in found.sessions:
        texts = [json.loads(row["body"]).get("content") for row in session.table("messages") if row["role"] == "user"]
        if texts.count(NUDGE) > 1:
            yield f"the nudge was said {texts.count(NUDGE)} times"
        rounds: dict[int, int] = {}
        for turn in session.table("turns"):
            rounds[turn["origin"]] = rounds.get(turn["origin"], 0) + turn["rounds"]
        yield from (f"{count} rounds on a budget of {ROUNDS}" for count in rounds.values() if count > ROUNDS)
        looks = [call for call in session.table("calls") if call["name"] == "look" and call["state"] == "succeeded"]
        if len(looks) > 1:
            yield "a tool ran in a step that blocks it"
        memories = {row["name"]: json.loads(row["memory"]) for row in session.table("rules")}
        step = memories.get("steps", {}).get("state", {}).get("step", "plan")
        if step != ("act" if looks else "plan"):
            yield f"the session is in the step {step}, and look has succeeded {len(looks)} times"


scenario: Final = Scenario(build=build, work=work, check=check, people=people.people, config=config())
