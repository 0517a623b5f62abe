"""The steps of a session: what may be called now, and where a settled call leads. Recorded with that call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llm_client.service import Json
from power_loop.engine import facts as f
from power_loop.errors import ConfigError
from power_loop.rules import CallSeen, Steps, StepState
from power_loop.values import CallKey, compact_json

LOG = logging.getLogger("power_loop.steps")

STEPS: Final = "steps"
"""Under this stands where a session is in its steps."""


@dataclass(slots=True)
class Stepping:
    """Where a session stands while a turn runs."""

    steps: Steps
    state: StepState
    seen: tuple[int, tuple[int, ...]] = (0, ())
    """The answer whose calls were last accounted for, and which of them: each is, exactly once, also over a crash."""

    @classmethod
    def of(cls, steps: Steps, stored: Json, *, resumed: bool) -> Stepping:
        """Raises `ConfigError` if the session stands in a step that these steps do not have."""
        if stored is None:
            return cls(steps, steps.begin())
        try:
            match stored:
                case {"state": state, "seq": int(seq), "calls": list(calls)}:
                    now = steps.read(state)
                    now = now if resumed else steps.turn_begins(now)
                    return cls(steps, now, (seq, tuple(ordinal for ordinal in calls if isinstance(ordinal, int))))
            raise ValueError(f"{stored!r} is not where a session stands")
        except ValueError as error:
            raise ConfigError([f"steps: {error}; use the steps that the session was in, or a new session"]) from None

    def settled(self, key: CallKey, call: CallSeen) -> f.Memory | None:
        """Account for a settled call; what to record with it. None: it is accounted for already."""
        seq, calls = self.seen
        if seq == key.seq and key.ordinal in calls:
            return None
        after = self.steps.after(self.state, call)
        for problem in after.problems:
            LOG.warning("the move %s: %s; it is not made", problem.name, problem.sentence)
        self.state = after.state
        self.seen = (key.seq, (*(calls if seq == key.seq else ()), key.ordinal))
        return self.memory()

    def memory(self) -> f.Memory:
        seq, calls = self.seen
        stored: Mapping[str, Json] = {"state": self.state.to_json(), "seq": seq, "calls": list(calls)}
        return f.Memory(name=STEPS, memory=compact_json(stored))
