"""What the model says, and what tools return."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.rules.draws import DIES, PICK
from tests.model.telling import Telling

GOOD: Final = '{"n": 1}'
CALLS: Final = st.lists(
    st.tuples(
        st.sampled_from(["look", "put", "pay", "sure", "slow", "ghost"]),
        st.sampled_from([GOOD, GOOD, "{broken", '{"m": 1}']),
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip

ANSWERS: Final = st.sampled_from(["words", "words", "empty", "error"])


class Answers(Telling):
    @precondition(lambda self: self.asked())
    @rule(pick=PICK, calls=CALLS, dies=DIES)
    def model_calls(self, pick: int, calls: Any, dies: int | None) -> None:
        self.answer(self.asked()[pick % len(self.asked())], calls, dies)

    @precondition(lambda self: self.asked())
    @rule(pick=PICK, answer=ANSWERS, dies=DIES)
    def model_answers(self, pick: int, answer: Any, dies: int | None) -> None:
        run = self.asked()[pick % len(self.asked())]
        self.answer(run, answer, dies)

    @precondition(lambda self: self.entered())
    @rule(pick=PICK, raises=st.booleans(), dies=DIES)
    def tool_returns(self, pick: int, raises: bool, dies: int | None) -> None:
        run, call = self.entered()[pick % len(self.entered())]
        self.numbered += 1
        self.arm(run.hand, dies)
        run.hand.tell(answer=run.entered[call], text=f"result {self.numbered}", error=raises)
        self.book.returned(run, call, f"result {self.numbered}", failed=raises)
        self.book.pump(run.session)
        self.settle(run.hand if dies else None)
