"""The estimate for what no provider has counted is careful, and not fooled by images."""

from __future__ import annotations

import base64
import json
import random

import pytest

from power_loop.transcript.measure import TOKENS_PER_IMAGE, tokens

PROSE = "The quick brown fox jumps over the lazy dog. " * 50


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (PROSE, len(PROSE) / 4.0),
        (json.dumps([{"id": n, "ok": True} for n in range(200)]), None),
        ("日本語のテキスト" * 50, 400 / 1.2),
    ],
    ids=["prose", "json", "wide"],
)
def test_the_estimate_says_rather_too_many(text: str, counted: float | None) -> None:
    assert tokens(text) >= (len(text) / 3.0 if counted is None else counted)


def test_more_text_is_more_tokens() -> None:
    sizes = [tokens("x" * length) for length in range(0, 300, 3)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 0, "a message costs something even if it is empty"


def test_an_image_counts_by_the_image_and_not_by_its_base64() -> None:
    picture = base64.b64encode(random.Random(1).randbytes(1_000_000)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    body = json.dumps({"role": "user", "content": [{"type": "text", "text": PROSE}, part, part]})
    assert tokens(PROSE) + 2 * TOKENS_PER_IMAGE < tokens(body) < tokens(PROSE) + 2 * TOKENS_PER_IMAGE + 200
