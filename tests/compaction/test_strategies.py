"""Each strategy over random histories, briefly: a sample of what `python -m tests.compaction` runs."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.compaction.properties import PROPERTIES

EXAMPLES = 300


@pytest.mark.acceptance("E2", "E3", "E4", "E6", "E8")
@pytest.mark.parametrize("name", PROPERTIES)
def test_over_random_histories(name: str) -> None:
    settings(max_examples=EXAMPLES)(PROPERTIES[name])()
