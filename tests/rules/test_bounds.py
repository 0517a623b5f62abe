"""Budget shares, patterns and scopes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from power_loop.rules import CONTINUE, Abort, BudgetShare, Nudge, Pattern, Pause, Scope, Share, Verdict
from tests.rules.kit import call, seen, watched


def used(turn: float, session: float, number: int = 1) -> Any:
    return seen(turn=number, spent=[Share("turn", "rounds", turn, 100), Share("session", "cost", session, 100)])


@pytest.mark.acceptance("G4")
def test_a_budgets_share_is_told_once_a_budget_and_the_turns_once_a_turn() -> None:
    verdicts = watched(
        BudgetShare(),
        used(79, 50),
        used(80, 50),
        used(90, 79.9),
        used(95, 85),
        used(99, 90),
        used(10, 91, 2),
        used(81, 92, 2),
        used(82, 93, 3),
        used(10, 40, 4),
        used(10, 81, 4),
    )
    told = [verdict.text.splitlines()[1:] if isinstance(verdict, Nudge) else [] for verdict in verdicts]
    assert told == [
        [],
        ["turn budget of 100 rounds: 80 spent (80%)"],
        [],
        ["session budget of 100.00 in cost: 85.00 spent (85%)"],
        [],
        [],
        ["turn budget of 100 rounds: 81 spent (81%)"],
        ["turn budget of 100 rounds: 82 spent (82%)"],
        [],
        ["session budget of 100.00 in cost: 81.00 spent (81%)"],
    ]


def test_a_budgets_share_is_told_in_words_of_ones_own() -> None:
    (verdict,) = watched(BudgetShare(at=0.5, say="Hurry."), used(50, 50))
    assert isinstance(verdict, Nudge)
    assert verdict.text.splitlines()[0] == "Hurry."
    assert len(verdict.text.splitlines()) == 3


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (Pattern("DELETE"), "the model's words match 'DELETE'"),
        (Pattern("secret"), None),
        (Pattern("secret", where="results"), "the results of read match 'secret'"),
        (Pattern("secret", where="results", tools=("write",)), None),
        (Pattern("DELETE", where="results"), None),
        (Pattern("rm -rf", where="arguments"), "the arguments of write match 'rm -rf'"),
        (Pattern("é", where="arguments"), "the arguments of write match 'é'"),
        (Pattern("^deep$", where="arguments"), "the arguments of write match '^deep$'"),
        (Pattern("^key$", where="arguments"), "the arguments of write match '^key$'"),
        (Pattern('no json "', where="arguments"), "the arguments of read match 'no json \"'"),
        (Pattern(re.compile("delete", re.IGNORECASE)), "the model's words match 'delete'"),
    ],
)
@pytest.mark.acceptance("G4")
def test_a_pattern_is_found_where_it_is_looked_for(pattern: Pattern, found: str | None) -> None:
    one = seen(
        call("read", 'no json "', "a secret"),
        call("write", '{"command": "rm -r\\u0066", "key": ["\\u00e9", {"deeper": "deep"}]}'),
        text="I will DELETE it",
    )
    (verdict,) = watched(pattern, one)
    if found is None:
        assert verdict == CONTINUE
    else:
        assert verdict == Nudge(f"{found[0].upper()}{found[1:]}: that is not wanted here.")


@pytest.mark.parametrize(("word", "verdict"), [("pause", Pause), ("abort", Abort)])
def test_a_pattern_ends_a_turn(word: Any, verdict: Any) -> None:
    assert watched(Pattern("x", then=word), seen(text="x")) == [verdict("the model's words match 'x'")]
    assert watched(Pattern("x", say="No."), seen(text="x")) == [Nudge("No.")]


def scoped(scope: Scope, arguments: Any, tool: str = "read") -> Verdict:
    return watched(scope, seen(call(tool, json.dumps(arguments))))[0]


WORK = Scope(paths=("/house", "/tmp/a"), base="/house")
HERE = Scope(paths=(".",))
SRC = Scope(paths=("src", "../lib"))


@pytest.mark.acceptance("G4")
@pytest.mark.parametrize(
    ("scope", "path", "inside"),
    [
        (WORK, "/house", True),
        (WORK, "/house/", True),
        (WORK, "/house/a/../b", True),
        (WORK, "//house/a", True),
        (WORK, "/house/./a", True),
        (WORK, "a/b", True),
        (WORK, "", True),
        (WORK, "../tmp/a/x", True),
        (WORK, "/tmp/a/x", True),
        (WORK, "/houseshop", False),
        (WORK, "/house/../etc/passwd", False),
        (WORK, "../../../../etc/passwd", False),
        (WORK, "/tmp/ab", False),
        (WORK, "/", False),
        (WORK, "~/x", False),
        (WORK, "~root/x", False),
        (HERE, "a", True),
        (HERE, ".", True),
        (HERE, "a/../b", True),
        (HERE, "a/~b", True),
        (HERE, "..", False),
        (HERE, "a/../../b", False),
        (HERE, "/a", False),
        (HERE, "//a", False),
        (HERE, "~", False),
        (HERE, "~/../../a", False),
        (SRC, "src/a", True),
        (SRC, "../lib/a", True),
        (SRC, "src/../../lib", True),
        (SRC, "a", False),
        (SRC, "../lib/../x", False),
        (SRC, "../../lib", False),
        (Scope(paths=("..",)), "../../x", False),
        (Scope(paths=("..",)), "x", False),
        (Scope(paths=("..",)), "../x", True),
        (Scope(paths=("/",)), "/etc/../../x", True),
        (Scope(paths=("/",)), "x", False),
        (Scope(paths=("~/w",)), "~/w/x", True),
        (Scope(paths=("~/w",)), "~/x", False),
        (Scope(paths=("~/w",)), "~/../w/x", False),
    ],
)
def test_a_path_lies_inside_by_its_name(scope: Scope, path: str, inside: bool) -> None:
    assert (scoped(scope, {"path": path}) == CONTINUE) is inside


@given(st.lists(st.sampled_from(["..", ".", "a", "house", ""]), max_size=8), st.sampled_from(["", "/"]))
def test_a_scope_agrees_with_walking_the_path(parts: list[str], start: str) -> None:
    here = [] if start else ["house"]
    for part in parts:
        if part == "..":
            here = here[:-1]
        elif part not in ("", "."):
            here = [*here, part]
    scope = Scope(paths=("/house",), base="/house")
    assert (scoped(scope, {"path": start + "/".join(parts).lstrip("/")}) == CONTINUE) is (here[:1] == ["house"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"file_path": "/etc/passwd"}, "read(file_path='/etc/passwd') lies outside of /house, /tmp/a"),
        ({"paths": ["/house/a", "/b"]}, "read(paths='/b')"),
        ({"edits": [{"path": "/house/a"}, {"path": "/c"}]}, "read(path='/c')"),
        ({"text": "/etc/passwd", "profile": "/x", "path": 7, "file": None}, None),
        ({"path": ["/house/a", 7, ["/b"]]}, None),
    ],
)
def test_arguments_that_are_paths_are_known_by_their_names(arguments: Any, told: str | None) -> None:
    verdict = scoped(WORK, arguments)
    assert (verdict == CONTINUE) if told is None else (isinstance(verdict, Nudge) and told in verdict.text)


def test_tools_and_paths_are_told_together_and_shortly() -> None:
    scope = Scope(tools=("read_*", "search"), paths=("/house",), arguments=("where",), then="abort")
    calls = [call("read_a", '{"where": "/x"}'), call("search", "no json"), *(call(f"write_{n}") for n in range(9))]
    (verdict,) = watched(scope, seen(*calls))
    assert isinstance(verdict, Abort)
    assert verdict.reason.startswith("read_a(where='/x') lies outside of /house; write_0 is none of read_*, search; ")
    assert verdict.reason.endswith("write_3 is none of read_*, search; and 5 more")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BudgetShare(at=0), "share between"),
        (lambda: BudgetShare(at=1), "share between"),
        (lambda: BudgetShare(at=float("nan")), "share between"),
        (lambda: BudgetShare(at=True), "share between"),
        (lambda: BudgetShare(at="1"), "share between"),
        (lambda: BudgetShare(say=""), "give a text"),
        (lambda: Pattern("("), "regular expression"),
        (lambda: Pattern(7), "regular expression"),
        (lambda: Pattern(re.compile(b"x")), "not for bytes"),
        (lambda: Pattern(b"x"), "not for bytes"),
        (lambda: Pattern("x", where="result"), "text, arguments, results"),
        (lambda: Pattern("x", then="kill"), "nudge, pause, abort"),
        (lambda: Pattern("x", tools="read"), "in a tuple"),
        (lambda: Scope(), "give tools, paths or both"),
        (lambda: Scope(paths="/house"), "in a tuple"),
        (lambda: Scope(tools="read"), "in a tuple"),
        (lambda: Scope(tools=("a",), arguments="path"), "in a tuple"),
        (lambda: Scope(paths=("/house",), base=""), "give a text"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
