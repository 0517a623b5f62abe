"""People in the loop: what an approval is bound to, what passes whom, results of the host."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

GUARDS: Final = (
    Guard(
        name="people-hash-of-what-was-seen",
        keeps="A decision is about the arguments that were seen.",
        of="2 11, B8",
        file="power_loop/store/transactions/waits.py",
        old="if wait is not None and said.seen is not None and said.seen != wait.arguments_hash:",
        new="if False:",
        test="tests/people/test_deciding.py::test_bad_decisions_change_nothing_and_say_what_is_wrong",
    ),
    Guard(
        name="people-row-is-checked",
        keeps="What was approved is read as it was written, or not at all.",
        of="B8, A9",
        file="power_loop/store/parsing.py",
        old='sound = sound and row["decision_crc"] == seals.decision_seal(decision, said, row["failed"], decided_at)',
        new="sound = bool(sound)",
        test="tests/people/test_going_on.py::test_a_decision_whose_row_was_touched_is_damage_and_nothing_runs",
    ),
    Guard(
        name="people-first-decision-stands",
        keeps="Of two different decisions the first stands.",
        of="B8",
        file="power_loop/store/transactions/waits.py",
        old=(
            "    if wait.decision is not None:\n"
            "        raise ApprovalDecidedError(session.id, call_id, wait.decision, wait.decided_by)\n"
        ),
        new="    if wait.decision is not None:\n        return wait\n",
        test="tests/people/test_deciding.py::test_bad_decisions_change_nothing_and_say_what_is_wrong",
    ),
    Guard(
        name="people-first-decision-stands-in-sql",
        keeps="No statement overwrites a decision.",
        of="B8",
        file="power_loop/store/sql/sqlite/waits.sql",
        old=" AND kind = :kind AND decision IS NULL;",
        new=" AND kind = :kind;",
        test="tests/people/test_deciding.py::test_the_same_decision_once_more_changes_nothing",
        redundant="what was decided is read in the same transaction, and never written again",
    ),
    Guard(
        name="people-expired-is-not-approved",
        keeps="What expired is approved by nobody.",
        of="B8",
        file="power_loop/store/transactions/waits.py",
        old=(
            "    if wait.expires_at is not None and to_micros(wait.expires_at) <= at:\n"
            "        raise ApprovalExpiredError(session.id, call_id, wait.expires_at)\n"
        ),
        new="",
        test="tests/people/test_deciding.py::test_nobody_in_time_means_no",
    ),
    Guard(
        name="people-expired-is-denied",
        keeps="What expired is denied by the next turn.",
        of="B8",
        file="power_loop/store/transactions/waits.py",
        old="                if not is_expired(call, at):\n                    continue\n",
        new="                continue\n",
        test="tests/people/test_deciding.py::test_nobody_in_time_means_no",
    ),
    Guard(
        name="people-spent-once",
        keeps="An approval is spent by one call.",
        of="4, B8",
        file="power_loop/store/transactions/waits.py",
        old="raise CallSettledError(session.id, call_id, str(call.state), SPENT)",
        new="return wait",
        test=(
            "tests/people/test_going_on.py::"
            "test_an_approved_once_call_that_was_cut_off_is_reported_and_neither_asked_about_nor_run_again"
        ),
    ),
    Guard(
        name="people-host-result-once",
        keeps="A result that the host gave is not replaced.",
        of="B6",
        file="power_loop/store/transactions/waits.py",
        old="        if wait is None or not call.state.open or wait.decision is not None:\n",
        new="        if wait is None or not call.state.open:\n",
        test="tests/people/test_host.py::test_results_given_while_the_turn_runs_are_taken_up_when_it_has_parked",
    ),
    Guard(
        name="people-host-results-only-for-the-hosts-calls",
        keeps="A result is taken for calls of the host's alone.",
        of="B6",
        file="power_loop/store/transactions/waits.py",
        old=(
            "        if wait is None or not call.state.open or wait.decision is not None:\n"
            "            raise CallSettledError(session.id, call_id, str(call.state), NO_RESULT)\n"
        ),
        new="        if wait is None or not call.state.open or wait.decision is not None:\n            continue\n",
        test="tests/people/test_host.py::test_bad_results_change_nothing",
    ),
    Guard(
        name="people-nothing-passes-a-barrier",
        keeps="A call that runs alone lets none behind it pass while it waits.",
        of="B8",
        file="power_loop/engine/decide.py",
        old="            held = held or not call.parallel\n",
        new="            held = False\n",
        test="tests/people/test_going_on.py::test_a_call_without_approval_never_passes_one_that_waits_and_runs_alone",
    ),
    Guard(
        name="people-approved-passes-a-barrier",
        keeps="What was approved passes what waits.",
        of="B8",
        file="power_loop/engine/decide.py",
        old="        elif not held or call.approved is not None:\n",
        new="        elif not held:\n",
        test="tests/people/test_deciding.py::test_what_is_decided_goes_on_and_the_rest_waits_on",
    ),
    Guard(
        name="people-edited-is-checked-when-given",
        keeps="Edited arguments that the tool refuses are refused at once.",
        of="2 11, B8",
        file="power_loop/stateful_loop/deciding.py",
        old="                tool.arguments(text)\n",
        new="                pass\n",
        test=(
            "tests/people/test_deciding.py::"
            "test_edited_arguments_that_the_tool_refuses_are_refused_at_once_or_never_run"
        ),
    ),
    Guard(
        name="people-approved-arguments-run",
        keeps="What runs is what was approved.",
        of="B8",
        file="power_loop/loop/hooked_calls.py",
        old="    return call.arguments if call.approved is None else call.approved\n",
        new="    return call.arguments\n",
        test="tests/people/test_deciding.py::test_edited_arguments_run_and_the_model_is_told",
    ),
    Guard(
        name="people-asked-before-anything-runs",
        keeps="A call that needs an approval is asked about before it runs.",
        of="B8",
        file="power_loop/engine/decide.py",
        old="    if unasked := tuple(call for call in now.calls if call.asks):\n        return AskApprovals(unasked)\n",
        new="",
        test="tests/people/test_asking.py::test_what_waits_is_listed_by_whoever_opens_the_file",
    ),
    Guard(
        name="people-unsure-means-ask",
        keeps="A function that cannot tell whether an approval is needed means yes.",
        of="B8",
        file="power_loop/tools/invoke.py",
        old="        return True, cleaned(\n",
        new="        return False, cleaned(\n",
        test="tests/people/test_asking.py::test_a_tool_asks_for_all_its_calls_or_by_a_function_of_the_arguments",
    ),
    Guard(
        name="people-nobody-decided-no-turn",
        keeps="Where nobody has said anything there is nothing to go on with.",
        of="B4, B8",
        file="power_loop/store/transactions/resume.py",
        old="    if parked and not decisions and waiting_only(list(calls.values()), at):\n",
        new="    if parked and not calls:\n",
        test="tests/people/test_asking.py::test_a_resume_of_what_nobody_decided_asks_no_model_and_begins_no_turn",
    ),
    Guard(
        name="people-a-driver-is-not-disturbed",
        keeps="A decision changes no call of a turn that runs, or was cut off.",
        of="7, B8",
        file="power_loop/store/transactions/waits.py",
        old="    if turn is not None and turn.state.live:\n",
        new="    if turn is None:\n",
        test=(
            "tests/people/test_going_on.py::"
            "test_decided_while_a_call_of_the_same_round_runs_it_is_the_next_turns_to_take_up"
        ),
    ),
    Guard(
        name="people-approval-of-this-call",
        keeps="A call is asked about unless it was approved itself.",
        of="B8",
        file="power_loop/loop/reopen.py",
        old="asks=call.state is CallState.REQUESTED and approved is None and policy.may_ask(tool)",
        new="asks=call.state is CallState.REQUESTED and policy.may_ask(tool)",
        test="tests/people/test_deciding.py::test_an_approved_call_runs_with_what_was_asked_about",
    ),
    Guard(
        name="people-handed-over-once",
        keeps="A call of the host's is handed over once.",
        of="B6",
        file="power_loop/engine/snapshot.py",
        old="replace(c, host=True) if c.key in keys else c",
        new="c",
        test="tests/people/test_host.py::test_a_call_of_the_hosts_may_need_an_approval_first",
        redundant="a resumed turn takes a requested call of an external tool for the host's already",
    ),
    Guard(
        name="people-answer-is-checked",
        keeps="What a tool says is no answer is none.",
        of="2 11, B6",
        file="power_loop/stateful_loop/deciding.py",
        old="            return tool.check_result(dict(tool.arguments(wait.arguments).values), value)\n",
        new="            return value\n",
        test="tests/people/test_host.py::test_a_checker_of_the_apps_sees_arguments_and_answer",
    ),
)
