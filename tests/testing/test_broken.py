"""The suite can fail: stores and sinks that break one promise each are caught, by the test that names it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STORES = {
    "WithoutFencing": "test_the_late_write_of_a_claim_that_was_lost_is_refused_whole",
    "AcknowledgesBeforeTheCommit": "test_what_one_owner_was_told_another_can_read_at_once",
    "LosesAUsageRow": "test_every_model_call_is_one_numbered_row",
    "KeepsRowsOfTheDeleted": "test_deleting_leaves_nothing_of_a_session_and_its_descendants",
    "SettlesTwice": "test_a_started_call_settles_and_is_never_moved_again",
    "CommitsFactByFact": "test_a_cancelled_caller_never_tears_a_change",
    "TakesHalfAList": "test_results_stand_in_call_order_however_they_come",
    "ForgetsRequestIds": "test_a_request_id_stores_its_input_once",
    "StartsInMemory": "test_intent_is_durable_before_effect",
    "ShowsResultsAsTheyCame": "test_results_stand_in_call_order_however_they_come",
    "NeverSeesTheDead": "test_a_living_owner_leaves_no_orphan_and_a_dead_one_does",
    "TakesTheLivingForDead": "test_one_session_has_one_live_turn",
    "RaisesItsDatabasesErrors": "test_an_unknown_session_is_said_so_by_every_method",
    "DropsCharacters": "test_texts_of_any_size_come_back_letter_for_letter",
    "FoldsWhatItDidNotRead": "test_whoever_had_the_session_since_goes_first",
    "FoldsOneTooFew": "test_a_compaction_marks_exactly_what_it_folds_and_its_note_stands_in_place",
    "NeverChanged": "test_changed_differs_after_every_commit_of_another_owner",
    "PagesAgain": "test_pages_put_together_are_the_whole_list",
    "LosesWhatWaits": "test_input_that_may_wait_is_stored_while_a_turn_runs",
    "TakesInputsBeforeTheCommit": "test_a_turn_takes_in_what_steers_it_between_rounds_in_the_order_of_arrival",
    "ShowsAPartForTheWhole": "test_a_result_kept_whole_is_read_letter_for_letter",
    "ReadsWhatIsAnothers": "test_only_sessions_of_one_tree_read_each_others_results",
    "RecoversForEver": "test_after_so_many_recoveries_a_session_is_set_aside_in_one_commit",
    "ReplaysFromTooEarly": "test_facts_are_read_back_as_they_were_from_every_cursor",
    "SaysNoNumber": "test_record_tells_the_number_of_its_last_event",
    "AbortsWithoutAnswer": "test_open_calls_refuse_a_new_input_and_the_refusal_carries_them",
}

WAITS = {
    "BindsToNothing": "test_what_waits_is_listed_with_what_it_is_bound_to",
    "StartsWhatWaits": "test_a_call_that_waits_neither_starts_nor_settles",
    "AsksForTheRobbed": "test_what_waits_is_asked_about_once_and_only_by_the_driver",
    "RunsWhatTheModelWrote": "test_an_approved_call_may_run_with_what_was_approved",
    "DeniesInMemory": "test_a_denied_call_has_its_result_and_never_runs",
    "LetsTheLastDecisionStand": "test_the_first_decision_stands_and_the_same_again_changes_nothing",
    "DecidesUnseen": "test_a_decision_is_about_what_was_seen",
    "NeverExpires": "test_what_expired_is_denied_by_the_next_turn_and_approved_by_nobody",
    "TakesAnyCall": "test_bad_decisions_change_nothing",
    "SpendsApprovalsTwice": "test_a_spent_approval_is_for_no_other_call_of_its_id",
    "ForgetsWhoItWaitsFor": "test_nothing_said_is_nothing_to_go_on_with",
    "LosesWhatIsSaidWhileATurnRuns": "test_decided_while_a_turn_runs_it_is_taken_up_by_the_next",
    "TakesTheDeadAway": "test_a_decision_leaves_a_turn_that_was_cut_off_to_whoever_recovers",
    "OutdatesNobody": "test_a_decision_outdates_what_others_remember",
    "AnswersOneByOne": "test_the_host_answers_once_all_or_none",
    "KeepsThePartAlone": "test_a_long_result_of_the_host_is_shown_in_short_and_kept_whole",
    "KnowsOneWaitACall": "test_a_call_may_wait_for_an_approval_and_then_for_the_host",
    "RetriesWhatIsTheHosts": "test_resolving_is_for_calls_in_doubt_and_not_for_those_that_wait",
    "LetsDriversHoldDecisionsUp": "test_a_living_driver_of_a_session_is_not_in_the_way_of_a_decision",
    "LosesNotes": "test_a_note_is_a_message_of_the_turn",
    "LosesAnswersThatGoOn": "test_an_answer_that_is_not_the_last_stands_with_its_note",
    "ForgetsWhatRulesRemember": "test_what_rules_remember_is_committed_with_what_they_saw",
    "NeverEndsByACall": "test_a_turn_may_end_with_a_call",
}

SINKS = {
    "TearsBatches": "test_a_cancelled_caller_does_not_tear_a_batch",
    "TurnsBatchesRound": "test_facts_of_one_batch_come_in_their_order",
    "IsLate": "test_what_was_recorded_stands_when_record_returns",
    "RefusesAKind": "test_it_takes_every_kind_of_fact",
    "HearsOnAfterItsClose": "test_nothing_is_recorded_after_it_was_closed",
    "CannotBeClosedTwice": "test_closing_twice_does_nothing",
}


def outcomes(folder: Path, tests: list[str]) -> dict[str, set[str]]:
    """Which tests passed, failed or could not even begin, in a pytest of its own: `{"FAILED": {"TestX::test_y"}}`."""
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", folder / "pytest.ini", "-rA", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    found: dict[str, set[str]] = {}
    for outcome, test in re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) \S*?::(\w+::\w+)", done.stdout, re.MULTILINE):
        found.setdefault(outcome, set()).add(test)
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize(
    ("file", "sound", "broken"),
    [("stores", "Sound", STORES), ("waits", "SoundWaits", WAITS), ("sinks", "SoundSink", SINKS)],
)
def test_each_broken_promise_is_caught_by_the_test_of_its_name(
    tmp_path: Path, file: str, sound: str, broken: dict[str, str]
) -> None:
    where = Path(__file__).with_name(f"broken_{file}.py")
    caught = {f"Test{subject}::{test}" for subject, test in broken.items()}
    controls = {f"Test{sound}::{test}" for test in broken.values()}
    found = outcomes(tmp_path, [f"{where}::{test}" for test in sorted(caught | controls)])
    assert found.get("FAILED", set()) == caught
    assert found["PASSED"] >= controls
    assert not found.keys() - {"FAILED", "PASSED"}
