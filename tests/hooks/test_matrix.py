"""Every point with every verdict and every fault, in a live turn and in one that is resumed after its process died."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from power_loop import Hooks, InputInvalidError, Status
from power_loop import hooks as h
from power_loop.engine.calls import CallState
from power_loop.hooks.verdicts import Verdict
from tests.hooks.stage import BEFORE, PLACED, Stage, dead, staged

pytestmark = pytest.mark.acceptance("G1")

OTHER: Final = h.ReplaceText("other words")
VERDICTS: Final[dict[str, Verdict]] = {
    "Proceed": h.Proceed(),
    "Stop": h.Stop("enough"),
    "Deny": h.Deny("not this"),
    "Skip": h.Skip("done before"),
    "Retry": h.Retry("look again"),
    "ReplaceText": OTHER,
    "ReplaceArguments": h.ReplaceArguments({"where": "there"}),
}
FAULTS: Final = ("raises", "hangs", "nonsense")
CASES: Final = [
    (place, word)
    for place, (point, _) in PLACED.items()
    for word in (*(verdict.__name__ for verdict in point.verdicts), *FAULTS)
]


class Once:
    """A guard that says something the first time it is asked, and lets everything pass then."""

    def __init__(self, role: str | None, word: str) -> None:
        self.role, self.word = role, word
        self.asleep = False
        self.views: list[Any] = []

    async def __call__(self, view: Any) -> Any:
        ours = not self.asleep and (self.role is None or (view.role == self.role and view.turn > 0))
        if ours:
            self.views.append(view)
        if not ours or len(self.views) > 1:
            return None
        match self.word:
            case "raises":
                raise LookupError("no such rule")
            case "hangs":
                await asyncio.Event().wait()
            case "nonsense":
                return "nonsense"
            case "ReplaceRequest":
                said = json.dumps({"role": "system", "content": "be brief"})
                return h.ReplaceRequest(replace(view.request, messages=(said, *view.request.messages)))
        return VERDICTS[self.word]


def meant(point: h.Point[Any, Any], word: str, view: Any) -> str:
    """The name of the verdict that it comes to."""
    return type(point.closed(view, "x")).__name__ if word in FAULTS else word


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("died") / "model"
    asyncio.run(dead(folder, "model"))
    return folder


@pytest.mark.parametrize("resumed", [False, True], ids=["live", "resumed"])
@pytest.mark.parametrize(("place", "word"), CASES)
async def test_a_verdict_ends_in_a_valid_history_with_a_truthful_status(
    tmp_path: Path, died: Path, place: str, word: str, resumed: bool
) -> None:
    point, role = PLACED[place]
    guard, hooks = Once(role, word), Hooks()
    hooks.guard(point, guard, timeout=0.05, name="ours")
    if role == "user":
        hooks.guard(h.MEMORY_RECALL, lambda view: h.ReplaceText("remembered") if view.text == "hello" else None)
    if resumed:
        shutil.copytree(died, tmp_path, dirs_exist_ok=True)
    async with staged(tmp_path, hooks) as stage:
        if resumed:
            result = await stage.loop.resume("s")
        else:
            await stage.loop.create_session("s")
            guard.asleep = True
            await stage.loop.send(BEFORE, "s")
            guard.asleep = False
            result = await stage.loop.send("hello", "s")
        assert guard.views, "the point was passed"
        assert all(view.session_id == "s" for view in guard.views)
        verdict = meant(point, word, guard.views[0])
        if verdict == "Stop":
            assert result.status == Status.STOPPED
            assert (result.stop_reason == "enough") == (word == "Stop")
            assert word == "Stop" or "guard ours failed: " in str(result.stop_reason)
        else:
            assert result.status == Status.COMPLETED
            assert result.final_text == expected_text(point, role, verdict)
        assert (await stage.loop.get_turns("s"))[-1].status == result.status
        await happened(stage, point, role, verdict, word, resumed=resumed)
        await stage.goes_on()
        paid = [call for call in await stage.loop.get_usage("s") if call.model != "hook"]
        assert len(paid) == len(stage.server.requests) + resumed, "every answer that came is counted"


def expected_text(point: h.Point[Any, Any], role: str | None, verdict: str) -> str:
    return "done before" if (point, verdict) == (h.MODEL_REQUEST, "Skip") else "done"


async def happened(
    stage: Stage, point: h.Point[Any, Any], role: str | None, verdict: str, word: str, *, resumed: bool
) -> None:
    """What the verdict is to mean at its point, in what is stored and what was asked."""
    results, texts, asked = await stage.results(), await stage.texts(), stage.server.requests
    reason = "" if word not in FAULTS else "guard ours failed: "
    purposes = [call.purpose for call in await stage.loop.get_usage("s")]
    match point, verdict:
        case ((h.TURN_START | h.MEMORY_RECALL | h.ROUND_START | h.MODEL_REQUEST), "Stop"):
            assert results == []
            assert texts[-1] == "user: hello"
        case h.MEMORY_RECALL, "ReplaceText":
            assert "user: [From memory]\nother words" in texts
        case h.MODEL_REQUEST, "ReplaceRequest":
            briefs = [body.body["messages"][0].get("content") == "be brief" for body in asked]
            assert sum(briefs) == 1
            assert not any("be brief" in text for text in texts)
        case h.MODEL_REQUEST, "Skip":
            assert texts[-1] == "assistant: done before"
            assert results == []
        case h.MODEL_ANSWER, "ReplaceText":
            assert "assistant: other words" in texts
            assert len(results) == 2, "its calls stay"
        case h.MODEL_ANSWER, "Retry":
            assert purposes.count("dropped") == 1
            assert len(results) == 2
        case h.MODEL_ANSWER, "Stop":
            assert purposes[-1] == "dropped"
            assert texts[-1] == "user: hello"
        case h.BATCH_START, "Deny":
            assert [state for state, _ in results] == ["denied", "denied"]
            assert all(text.startswith("[denied] This call did not run. The reason: ") for _, text in results)
            assert all(reason in text for _, text in results)
            assert stage.looked == stage.broken == []
        case ((h.BATCH_START | h.CALL_START), "Stop"):
            assert results == [("requested", ""), ("requested", "")]
            assert stage.looked == stage.broken == []
        case h.CALL_START, "Deny":
            assert results[0][0] == "denied"
            assert results[0][1].startswith("[denied] This call did not run. The reason: ")
            assert stage.looked == []
            assert stage.broken == [1], "the other one runs"
        case h.CALL_START, "Skip":
            assert results[0] == ("denied", "done before")
            assert stage.looked == []
        case h.CALL_START, "ReplaceArguments":
            assert stage.looked == ["there"]
            assert results[0] == (
                "succeeded",
                '[A guard changed the arguments of this call: {"where":"there"}]\nseen there',
            )
        case h.CALL_ERROR, "Retry":
            assert stage.broken == [1, 1]
            assert [call.attempt for call in await stage.loop.get_calls("s")] == [1, 2]
        case h.CALL_ERROR, "ReplaceText":
            assert results[1] == ("failed", "other words") if not reason else results[1][1].startswith("[This result")
        case h.CALL_END, "ReplaceText":
            assert sorted(state for state, _ in results) == ["failed", "succeeded"]
            told = "[This result was withheld: guard ours" if reason else "other words"
            assert sum(text.startswith(told) for _, text in results) == 1
        case ((h.CALL_END | h.CALL_ERROR | h.BATCH_END | h.ROUND_END | h.COMPACTION_START), "Stop"):
            assert results == [("succeeded", "seen here"), ("failed", "Error: LookupError: broken")]
            assert len(asked) == 2 - resumed, "the model is not asked"
        case h.COMPACTION_START, "Skip":
            session = await stage.loop.get_session("s")
            assert session.failed_compactions == 1
            assert await stage.loop.get_compactions("s") == []
        case h.COMPACTION_START, "Proceed":
            assert len(await stage.loop.get_compactions("s")) == 1
        case h.MESSAGE_APPEND, "ReplaceText":
            told = "[This result was withheld: guard ours" if reason else "other words"
            assert sum(told in text for text in texts) == 1
        case h.MESSAGE_APPEND, "Stop" if role == "tool":
            assert results == [("succeeded", "seen here"), ("failed", "Error: LookupError: broken")]
        case h.MESSAGE_APPEND, "Stop":
            assert texts[-1] == "user: hello"
            assert ("dropped" in purposes) == (role == "assistant")
        case h.TURN_END, "Retry":
            assert texts.count("user: look again") == 1
            assert texts.count("assistant: done") == 2
        case _:
            assert [state for state, _ in results] == ["succeeded", "failed"]
            assert texts[-1] == "assistant: done"


@pytest.mark.parametrize("word", ["Proceed", "ReplaceText", "Stop", *FAULTS])
async def test_an_input_is_let_in_changed_or_refused_before_anything_is_written(tmp_path: Path, word: str) -> None:
    asked: list[h.MessageAppend] = []
    hooks = Hooks()

    @hooks.guard(h.MESSAGE_APPEND, timeout=0.05)  # type: ignore[arg-type]
    async def ours(view: h.MessageAppend) -> Any:
        if view.role == "user" and not asked:
            asked.append(view)
            once = Once("user", word)
            return await once(replace(view, turn=1))
        return None

    async with staged(tmp_path, hooks) as stage:
        await stage.loop.create_session("s")
        if word in ("Proceed", "ReplaceText"):
            assert (await stage.loop.send("hello", "s")).status == Status.COMPLETED
            texts = await stage.texts()
            assert texts[0] == ("user: hello" if word == "Proceed" else "user: other words")
        else:
            with pytest.raises(
                InputInvalidError, match=r"user_input was refused by a hook: (enough|guard ours failed)"
            ):
                await stage.loop.send("hello", "s")
            assert await stage.texts() == []
            assert await stage.loop.get_turns("s") == []
        assert asked == [h.MessageAppend(session_id="s", turn=0, round=0, role="user", text="hello")]
        await stage.goes_on()


async def test_an_unread_image_stays_where_the_words_of_an_input_are_replaced(tmp_path: Path) -> None:
    hooks = Hooks()
    hooks.guard(h.MESSAGE_APPEND, lambda view: OTHER if view.role == "user" else None)
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    async with staged(tmp_path, hooks) as stage:
        await stage.loop.create_session("s")
        parts = [{"type": "text", "text": "look"}, image, {"type": "text", "text": "at this"}]
        await stage.loop.send(parts, "s")
        sent = stage.server.requests[0].body["messages"][0]["content"]
        assert sent == [{"type": "text", "text": "other words"}, image]


STARTED: Final = {
    "Deny": (CallState.FAILED, "[denied] This call was not run again. The reason: not this The call was started"),
    "Skip": (CallState.FAILED, "done before The call was started before"),
    "ReplaceArguments": (CallState.SUCCEEDED, "[A guard changed the arguments of this call: "),
    "Proceed": (CallState.SUCCEEDED, "seen here"),
}


@pytest.mark.parametrize("word", STARTED)
async def test_a_call_that_a_kill_cut_off_passes_its_start_again_as_the_second_attempt(
    tmp_path: Path, word: str
) -> None:
    await dead(tmp_path / "died", "calls")
    hooks, batches, starts = Hooks(), [], []
    hooks.observe(h.BATCH_START, batches.append)
    hooks.observe(h.CALL_START, starts.append)
    hooks.guard(h.CALL_START, Once(None, word), name="ours")
    async with staged(tmp_path / "died", hooks) as stage:
        result = await stage.loop.resume("s")
        assert result.status == Status.COMPLETED
        assert batches == [], "they were taken up before"
        assert [(view.name, view.attempt) for view in starts] == [("look", 2), ("breaks", 2)]
        (first, _) = await stage.loop.get_calls("s")
        results = await stage.results()
        assert first.state is STARTED[word][0]
        assert results[0][1].startswith(STARTED[word][1])
        await stage.goes_on()
