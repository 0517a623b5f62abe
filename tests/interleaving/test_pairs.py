"""D1: two processes on one file, one held at any statement: a sample. All: `python -m tests.interleaving.sweep`.

`PAIRS_SEED` chooses another sample.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Final

import pytest

from tests.interleaving.pairs import FIRST, SECOND, Pair, Verdict
from tests.interleaving.sweep import all_pairs, judged, told

SEED: Final = int(os.environ.get("PAIRS_SEED", "2024"))
EACH: Final = 2
"""Points at which each operation is held for each other one."""


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return all_pairs()


@pytest.fixture(scope="module")
def verdicts(pairs: list[Pair]) -> list[Verdict]:
    chance = random.Random(SEED)
    sample: list[Pair] = []
    for first in FIRST:
        for second in SECOND:
            mine = [pair for pair in pairs if (pair.first, pair.second) == (first, second)]
            committed = [pair for pair in mine if pair.point.name in ("store.committed", "loop.ask", "tool.pay")]
            sample += [*chance.sample(mine, EACH - 1), chance.choice(committed)]
    return list(judged(sample, 2))


@pytest.mark.acceptance("D1", "B3", "C6")
def test_whoever_is_held_and_whoever_acts_meanwhile_both_end_as_they_should(verdicts: list[Verdict]) -> None:
    failed = [told(verdict) for verdict in verdicts if verdict.problems]
    assert not failed, "\n".join(failed[:5])
    assert sum(verdict.missed for verdict in verdicts) < len(verdicts) // 10


@pytest.mark.acceptance("D1")
def test_the_sample_met_the_lock_the_driver_and_nobody(verdicts: list[Verdict]) -> None:
    found = Counter(verdict.found for verdict in verdicts)
    assert min(found["locked"], found["driven"], found["free"]) > len(verdicts) // 20, found
    robbed = [verdict for verdict in verdicts if "by force" in verdict.pair.second and verdict.found == "driven"]
    assert any("session.epoch_lost" in verdict.first for verdict in robbed)


def test_what_is_enumerated_is_every_statement_of_a_turn_of_two_rounds(pairs: list[Pair]) -> None:
    names = {pair.point.name for pair in pairs if pair.first == "send"}
    assert {"sql.begin", "sql.claim_session", "sql.insert_call", "sql.start_call", "sql.settle_call"} <= names
    assert {"sql.end_turn", "sql.commit", "store.committed", "loop.ask", "tool.look", "tool.put", "tool.pay"} <= names
    assert len([pair for pair in pairs if pair.first == "send" and pair.second == "send"]) > 50
