"""Rules: budgets, watchers, steps, outputs, and calls that end a turn."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

ASK: Final = "power_loop/loop/ask.py"
DECIDE: Final = "power_loop/engine/decide.py"
BUDGETS: Final = "tests/governance/test_budgets.py::"
WATCHING: Final = "tests/governance/test_watching.py::"
STEPPING: Final = "tests/governance/test_stepping.py::"
OUTPUT: Final = "tests/governance/test_output.py::"

GUARDS: Final = (
    Guard(
        name="rules-a-request-is-within-its-budget",
        keeps="The request that would pass a limit is not made.",
        of="G5",
        file=ASK,
        old="    await within_budget(turn)\n",
        new="",
        test=f"{BUDGETS}test_a_budget_of_a_session_lasts_over_turns_and_restarts_and_more_of_it_goes_on",
    ),
    Guard(
        name="rules-a-summary-is-within-its-budget",
        keeps="No summary is asked for that would pass a limit.",
        of="G5",
        file="power_loop/loop/fold.py",
        old="    await within_budget(turn)\n",
        new="",
        test=f"{BUDGETS}test_a_summary_is_not_asked_for_either",
    ),
    Guard(
        name="rules-spent-by-others-is-read-again",
        keeps="What others of a tree spend meanwhile counts.",
        of="G5",
        file="power_loop/loop/spending.py",
        old="    if turn.others is None or tree:\n",
        new="    if turn.others is None:\n",
        test=f"{BUDGETS}test_what_others_of_the_tree_spend_meanwhile_counts",
    ),
    Guard(
        name="rules-spent-on-an-input-over-its-resumes",
        keeps="A turn's budget counts on over the turns that go on from it.",
        of="G5",
        file="power_loop/store/spending.py",
        old="    of_origin = {turn.number for turn in own if turn.origin == origin}\n",
        new="    of_origin: set[int] = set()\n",
        test=f"{BUDGETS}test_a_turn_counts_on_over_its_resumes_and_begins_anew_with_the_next_input",
    ),
    Guard(
        name="rules-a-price-that-is-not-known-is-no-price",
        keeps="A cost that is not known is None, never 0.",
        of="A5, G5",
        file="power_loop/store/spending.py",
        old="if None not in costs else None,",
        new=",",
        test="tests/store/test_spending.py::test_a_cost_that_is_not_known_makes_the_sum_unknown",
    ),
    Guard(
        name="rules-every-round-is-watched",
        keeps="A round that no watcher has seen is seen before the next request, also after a kill.",
        of="G4",
        file=DECIDE,
        old="        if limits.watched and now.watched < now.rounds:\n            return Watch()\n",
        new="",
        test=f"{WATCHING}test_a_round_whose_watching_was_killed_is_seen_by_whoever_resumes",
    ),
    Guard(
        name="rules-no-round-is-watched-twice",
        keeps="Which round the watchers have seen is remembered with what they remember.",
        of="G4",
        file="power_loop/loop/watching.py",
        old="{**changed, **mark}.items()",
        new="{**changed}.items()",
        test=f"{WATCHING}test_a_pause_leaves_a_session_that_can_be_resumed",
    ),
    Guard(
        name="rules-memories-are-those-of-the-session",
        keeps="What watchers remembered before a restart counts after it.",
        of="G4",
        file="power_loop/stateful_loop/runner.py",
        old="        if not self._gear.config.remembers:\n            return {}\n",
        new="        return {}\n",
        test=f"{WATCHING}test_what_was_seen_before_a_kill_counts_after_it",
    ),
    Guard(
        name="rules-a-step-blocks",
        keeps="A tool that the step does not allow does not run.",
        of="G6",
        file="power_loop/loop/act.py",
        old="    if turn.stepping is not None and not call.attempt:\n",
        new="    if False:\n",
        test=f"{STEPPING}test_a_tool_of_another_step_is_refused_and_the_refusal_says_what_is_allowed",
    ),
    Guard(
        name="rules-a-move-is-recorded-with-its-call",
        keeps="Where a settled call leads is in the commit of its result.",
        of="G6",
        file="power_loop/loop/act.py",
        old="            facts.append(f.RulesRemembered(**turn.stamp, memories=(memory,)))\n",
        new="            pass\n",
        test=f"{STEPPING}test_the_step_survives_turns_restarts_and_kills",
    ),
    Guard(
        name="rules-a-call-moves-the-steps-once",
        keeps="A call is accounted for once, also if it was settled from outside.",
        of="G6",
        file="power_loop/loop/stepping.py",
        old="        if seq == key.seq and key.ordinal in calls:\n            return None\n",
        new="",
        test="tests/governance/test_stepping.py::test_what_is_accounted_for_is_not_accounted_for_again",
    ),
    Guard(
        name="rules-results-from-outside-move-the-steps",
        keeps="What the host answered moves a session as every call does.",
        of="G6",
        file="power_loop/loop/drive.py",
        old="        await account(turn)\n",
        new="",
        test=f"{STEPPING}test_what_the_host_answers_moves_the_session_too_and_once",
    ),
    Guard(
        name="rules-guidance-is-counted",
        keeps="A stop too early is guided on so many times and no more.",
        of="G6",
        file="power_loop/loop/last_word.py",
        old="    stepping.state = guided.state\n",
        new="",
        test=f"{STEPPING}test_a_stop_too_early_is_answered_with_guidance_so_many_times_and_no_more",
    ),
    Guard(
        name="rules-a-second-wrong-output-is-not-stored",
        keeps="An answer of the wrong shape is asked for once more, and then the turn fails.",
        of="C8",
        file="power_loop/loop/last_word.py",
        old="    if turn.reasked > REASKS:\n",
        new="    if False:\n",
        test=f"{OUTPUT}test_a_second_one_fails_the_turn_and_nothing_of_it_is_stored",
    ),
    Guard(
        name="rules-a-call-that-ends-the-turn-runs-last",
        keeps="What ends a turn runs when nothing else is open.",
        of="C8",
        file=DECIDE,
        old="    if not all(call.ends for call in now.calls):\n",
        new="    if False:\n",
        test=f"{OUTPUT}test_a_complete_tool_ends_the_turn_with_its_arguments",
    ),
    Guard(
        name="rules-what-was-answered-by-a-call-is-answered",
        keeps="The inputs of a turn that a call ended are no longer what the model works on.",
        of="C8, E8",
        file="power_loop/transcript/view.py",
        old="                if not entry.note and entry.seq <= answered:\n                    break\n",
        new="                pass\n",
        test=f"{OUTPUT}test_what_a_turn_was_asked_can_be_folded_once_a_call_has_ended_it",
    ),
)
