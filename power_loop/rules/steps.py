"""A small machine of steps: which tools each step allows, and what moves a session from one to the next.

Pure. `Steps` is the table, an app's own; `StepState` is where a session stands in it: one small JSON value, recorded
with the call that changed it, so that a kill never leaves a session between two steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from llm_client.service import Json
from power_loop.rules.checks import matches, patterns, texts, whole
from power_loop.rules.seen import CallSeen, Problem
from power_loop.values import shown


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Tools are named by patterns: `*` and `?`, as in file names; upper and lower case differ.

    Raises:
        ValueError: a part of it is not what it should be.
    """

    name: str
    allow: Sequence[str] = ("*",)
    block: Sequence[str] = ()
    """What is blocked is blocked, also if it is allowed."""
    guidance: str = ""
    """What the model is told when it stops here too early; a general text unless said."""
    final: bool = False
    """Whether a turn may end here without more."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"Step(name={shown(self.name)}): give it a name")
        object.__setattr__(self, "allow", patterns(self, "allow", self.allow))
        object.__setattr__(self, "block", patterns(self, "block", self.block))
        if not isinstance(self.guidance, str) or not isinstance(self.final, bool):
            raise ValueError(f"Step({self.name!r}): guidance is a text, final is True or False")

    def allows(self, tool: str) -> bool:
        return not matches(tool, self.block) and matches(tool, self.allow)


@dataclass(frozen=True, slots=True)
class StepSeen:
    """What the condition of a move is shown: a call that was just settled, in the step in which it was."""

    step: str
    call: CallSeen
    succeeded: Mapping[str, int]
    """Calls that succeeded in this step so far, this one included, by tool."""


Condition: TypeAlias = Callable[[StepSeen], bool]


@dataclass(frozen=True, slots=True)
class _Called:
    name: str
    times: int

    def __call__(self, seen: StepSeen) -> bool:
        return seen.succeeded.get(self.name, 0) >= self.times


def called(name: str, times: int = 1) -> Condition:
    """The condition that this tool has succeeded so many times since the step began.

    Raises:
        ValueError: the name is no text, or `times` is below 1.
    """
    condition = _Called(name, times)
    texts(condition, name=name)
    whole(condition, "times", times, 1)
    return condition


@dataclass(frozen=True, slots=True)
class Move:
    """From one step to another once `when` says so. It is asked after each settled call, also a failed one.

    Raises:
        ValueError: it leads nowhere else, or `when` is no sync function.
    """

    from_: str
    to: str
    when: Condition

    def __post_init__(self) -> None:
        texts(self, from_=self.from_, to=self.to)
        if self.from_ == self.to:
            raise ValueError(f"the move {self} leads to where it begins: name another step")
        if not callable(self.when) or inspect.iscoroutinefunction(self.when):
            raise ValueError(f'when of the move {self} is no sync function: give one of StepSeen, or called("tool")')

    def __str__(self) -> str:
        return f"{self.from_} -> {self.to}"


@dataclass(frozen=True, slots=True)
class StepState:
    """Where a session stands."""

    step: str
    succeeded: Mapping[str, int] = field(default_factory=dict)
    """Calls that succeeded in this step, by tool."""
    guided: int = 0
    """How often the model was guided in this turn."""

    def to_json(self) -> Json:
        return {"step": self.step, "succeeded": dict(self.succeeded), "guided": self.guided}


class Stepped(NamedTuple):
    """Where a session stands after a call, and which conditions could not say."""

    state: StepState
    problems: tuple[Problem, ...]


class Guided(NamedTuple):
    """What to tell a model that stopped too early, and the state to record with it."""

    text: str
    state: StepState


class Steps:
    """Steps, and the moves between them.

    Args:
        start: Where a new session stands; in the first step unless said.
        guidance_limit: How often a turn that stops too early is guided on; then it ends as it is.
        exit: The tool whose success ends the turn, if there is one: a step that allows it is a way out, too.

    Raises:
        ValueError: a step is named twice, not there or never reached, or from one no way leads out. The message names
            all that is wrong.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        *,
        moves: Iterable[Move] = (),
        start: str | None = None,
        guidance_limit: int = 2,
        exit: str | None = None,
    ) -> None:
        given, self.moves = tuple(steps), tuple(moves)
        whole(self, "guidance_limit", guidance_limit, 0)
        if not given or not all(isinstance(step, Step) for step in given):
            raise ValueError("Steps(steps=...): give at least one Step, and nothing else")
        if not all(isinstance(move, Move) for move in self.moves):
            raise ValueError("Steps(moves=...): give moves: Move(from_=..., to=..., when=...)")
        self.start = given[0].name if start is None else start
        self.guidance_limit, self.exit = guidance_limit, exit
        self.by_name: Mapping[str, Step] = {step.name: step for step in given}
        if problems := _problems(self, [step.name for step in given]):
            raise ValueError("these steps cannot work: " + "; ".join(problems))

    def begin(self) -> StepState:
        """Where a new session stands."""
        return StepState(self.start)

    def read(self, stored: Json) -> StepState:
        """The state that `to_json` gave.

        Raises:
            ValueError: it is none, or names a step that is not there (any more): the message says which there are.
        """
        match stored:
            case {"step": str(step), "succeeded": dict(succeeded), "guided": int(guided), **more} if not more:
                counts = _counts(succeeded)
                if counts is not None and type(guided) is int and guided >= 0:
                    state = StepState(step, counts, guided)
                    self._step(state)
                    return state
        raise ValueError(f"{shown(stored)} is not where a session stands")

    def offered(self, state: StepState, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the tools that the step allows, in their order."""
        step = self._step(state)
        return tuple(name for name in names if step.allows(name))

    def refusal(self, state: StepState, tool: str, names: Iterable[str]) -> str | None:
        """What the model is told instead of running this tool, or None if the step allows it.

        Args:
            names: All tools of the session: those allowed here are named.
        """
        if self._step(state).allows(tool):
            return None
        return f"{tool} is not allowed in the step {state.step!r}. {_allowed(self.offered(state, names))}"

    def after(self, state: StepState, call: CallSeen) -> Stepped:
        """Where the session stands once this call is settled; what that allows holds from the next call on.

        The first move from the step whose condition holds is made; counts begin anew then. A condition that raises, or
        says anything but True and False, is a problem and does not hold.
        """
        self._step(state)
        succeeded = dict(state.succeeded)
        if call.succeeded:
            succeeded[call.name] = succeeded.get(call.name, 0) + 1
        seen, problems = StepSeen(state.step, call, MappingProxyType(succeeded)), []
        for move in self.moves:
            if move.from_ != state.step:
                continue
            said = _asked(move, seen)
            if isinstance(said, Problem):
                problems.append(said)
            elif said:
                return Stepped(StepState(move.to, {}, state.guided), tuple(problems))
        return Stepped(replace(state, succeeded=succeeded), tuple(problems))

    def premature(self, state: StepState, names: Iterable[str] = ()) -> Guided | None:
        """What to tell a model that answers without calls in a step that is not final; None if the turn may end.

        At most `guidance_limit` times a turn, in whatever steps.

        Args:
            names: All tools of the session, for the general text.
        """
        step = self._step(state)
        if step.final or state.guided >= self.guidance_limit:
            return None
        text = step.guidance or (
            f"The work is not done: it stands in the step {step.name!r}. {_allowed(self.offered(state, names))}"
        )
        return Guided(text, replace(state, guided=state.guided + 1))

    def turn_begins(self, state: StepState) -> StepState:
        """For a turn that takes in an input: guidance is counted anew. Not for a resume, which goes on with a turn."""
        return replace(state, guided=0)

    def _step(self, state: StepState) -> Step:
        step = self.by_name.get(state.step)
        if step is None:
            there = ", ".join(map(repr, self.by_name))
            raise ValueError(f"the session stands in the step {state.step!r}, which is not there: there are {there}")
        return step


def _asked(move: Move, seen: StepSeen) -> bool | Problem:
    try:
        said: object = move.when(seen)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of the app's
        return Problem(str(move), f"its condition raised {shown(error)}")
    if inspect.iscoroutine(said):
        said.close()
    return said if isinstance(said, bool) else Problem(str(move), f"its condition gave {shown(said)}, no True or False")


def _allowed(names: Sequence[str]) -> str:
    return f"Allowed here: {', '.join(names)}." if names else "No tool is allowed here."


def _counts(stored: Mapping[str, Json]) -> dict[str, int] | None:
    counts = {
        tool: times for tool, times in stored.items() if isinstance(times, int) and type(times) is int and times > 0
    }
    return counts if len(counts) == len(stored) else None


def _problems(steps: Steps, names: Sequence[str]) -> list[str]:
    found = [f"two are named {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if steps.start not in steps.by_name:
        found.append(f"start names {shown(steps.start)}, which is not there")
    for move in steps.moves:
        found.extend(
            f"the move {move} names {shown(name)}, which is not there"
            for name in (move.from_, move.to)
            if name not in steps.by_name
        )
    if found:
        return found
    ways = [(move.from_, move.to) for move in steps.moves]
    reached = _reached({steps.start}, ways)
    found.extend(f"no move leads to {name!r}" for name in names if name not in reached)
    outs = {
        step.name
        for step in steps.by_name.values()
        if step.final or (steps.exit is not None and step.allows(steps.exit))
    }
    ending = _reached(outs, [(to, from_) for from_, to in ways])
    found.extend(
        f"from {name!r} no way leads to a final step{'' if steps.exit is None else f' or to {steps.exit}'}"
        for name in names
        if name not in ending
    )
    return found


def _reached(start: Iterable[str], ways: Sequence[tuple[str, str]]) -> set[str]:
    """All that can be reached from `start`, itself included."""
    reached, new = set(start), True
    while new:
        more = {to for from_, to in ways if from_ in reached} - reached
        reached, new = reached | more, bool(more)
    return reached
