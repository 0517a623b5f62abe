"""Compaction never destroys, parts nothing that belongs together, and never fails a turn."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

RULES: Final = "tests/transcript/test_view.py::test_every_fold_keeps_the_rules_and_the_reload_is_what_the_model_saw"

GUARDS: Final = (
    Guard(
        name="fold-pairs-stay-together",
        keeps="An answer and the results of its calls are folded together or not at all.",
        of="5 8, E3",
        file="power_loop/transcript/view.py",
        old=(
            '            while end < len(self._entries) and self._entries[end].role == "tool":\n'
            "                end += 1\n"
        ),
        new="",
        test=RULES,
    ),
    Guard(
        name="fold-not-the-request",
        keeps="The message that the turn works on is never folded.",
        of="8, E8",
        file="power_loop/compaction/plan.py",
        old=" and entry.seq != request\n",
        new="\n",
        test=RULES,
    ),
    Guard(
        name="fold-not-the-pinned",
        keeps="Pinned messages are never folded.",
        of="8, E8",
        file="power_loop/compaction/plan.py",
        old=" and not entry.pinned and",
        new=" and",
        test="tests/transcript/test_guards_found.py::test_neither_a_system_prompt_nor_a_pinned_message_is_folded",
    ),
    Guard(
        name="fold-not-the-system-prompt",
        keeps="The system prompt is never folded.",
        of="8, E8",
        file="power_loop/compaction/plan.py",
        old='if entry.role != "system" and not',
        new="if not",
        test="tests/transcript/test_guards_found.py::test_neither_a_system_prompt_nor_a_pinned_message_is_folded",
    ),
    Guard(
        name="fold-only-for-a-gain",
        keeps="Nothing is folded where that would gain nothing; a note alone is not folded into a note.",
        of="8, E1",
        file="power_loop/compaction/plan.py",
        old="    if sum(not entry.note for entry in folded) < 2:\n",
        new="    if not folded:\n",
        test="tests/transcript/test_view.py::test_nothing_is_folded_where_that_would_gain_nothing",
    ),
    Guard(
        name="fold-a-note-that-is-shorter",
        keeps="A note that is no shorter than what it stands for is dropped.",
        of="8, E6",
        file="power_loop/loop/fold.py",
        old="    if body is None or size >= planned.folded_tokens:\n",
        new="    if body is None:\n",
        test="tests/loop/test_compaction.py::test_a_summary_that_fails_changes_nothing",
    ),
    Guard(
        name="fold-a-note-that-is-one",
        keeps="An empty summary, or one that calls tools, is no note.",
        of="8, E6",
        file="power_loop/compaction/summary.py",
        old="    if not text or answer.tool_calls:\n",
        new="    if text is None:\n",
        test="tests/loop/test_compaction.py::test_a_summary_that_fails_changes_nothing",
    ),
    Guard(
        name="fold-failure-is-soft",
        keeps="A summary model that fails does not fail the turn.",
        of="8, E6",
        file="power_loop/loop/fold.py",
        old="    except ModelError as error:\n        return",
        new="    except LookupError as error:\n        return",
        test="tests/loop/test_compaction.py::test_a_summary_that_fails_changes_nothing",
    ),
    Guard(
        name="fold-not-twice-on-one-count",
        keeps="There is no second compaction until the provider has counted again.",
        of="8, E1",
        file="power_loop/engine/decide.py",
        old="        if now.may_fold and now.context_tokens >= limits.fold_at:\n",
        new="        if now.context_tokens >= limits.fold_at:\n",
        test="tests/engine/test_decide.py::test_the_step_of_a_turn",
    ),
    Guard(
        name="fold-not-twice-after-a-restart",
        keeps="A fresh process, too, waits for a new count before it folds again.",
        of="8, E1",
        file="power_loop/loop/reopen.py",
        old="may_fold=not history.folded_since,",
        new="may_fold=True,",
        test="tests/loop/test_guards_found.py::test_a_fresh_process_folds_nothing_before_the_provider_has_counted_again",
    ),
    Guard(
        name="fold-note-in-its-place",
        keeps="A note stands where the folded messages began, also after a restart.",
        of="8, E2",
        file="power_loop/loop/fold.py",
        old='role="user", body=body, place=planned.place)',
        new='role="user", body=body)',
        test="tests/loop/test_compaction.py::test_after_every_restart_the_model_sees_what_it_saw",
    ),
    Guard(
        name="fold-what-was-folded-is-gone-from-the-view",
        keeps="A reload shows what the model saw: no folded message.",
        of="8, E2",
        file="power_loop/store/sql/sqlite/messages.sql",
        old=" WHERE session = :session AND state = 'active'\n ORDER BY place;",
        new=" WHERE session = :session\n ORDER BY place;",
        test="tests/loop/test_compaction.py::test_after_every_restart_the_model_sees_what_it_saw",
    ),
    Guard(
        name="fold-reload-in-order",
        keeps="A reload has the messages in the order the model saw them.",
        of="5 8, E2",
        file="power_loop/store/sql/sqlite/messages.sql",
        old=" WHERE session = :session AND state = 'active'\n ORDER BY place;",
        new=" WHERE session = :session AND state = 'active'\n ORDER BY seq;",
        test="tests/loop/test_compaction.py::test_after_every_restart_the_model_sees_what_it_saw",
    ),
    Guard(
        name="fold-only-what-is-active",
        keeps="A message is folded once: a second compaction that names it is refused whole.",
        of="8, E2",
        file="power_loop/store/sql/sqlite/messages.sql",
        old="seq = :seq AND state = 'active';",
        new="seq = :seq;",
        test="tests/store/test_guards_found.py::test_a_message_is_folded_once",
    ),
    Guard(
        name="fold-all-or-nothing",
        keeps="A compaction that cannot fold one of its messages folds none.",
        of="8, E2",
        file="power_loop/store/transactions/record.py",
        old='            raise StateError(f"message {seq} is not active and cannot be folded")',
        new="            continue",
        test="tests/store/test_guards_found.py::test_a_message_is_folded_once",
    ),
    Guard(
        name="view-results-in-call-order",
        keeps="Results stand in call order in the model's view, however they come.",
        of="5, C3",
        file="power_loop/transcript/view.py",
        old=(
            "            at = bisect_left(self._entries, entry.place, key=_place)\n"
            "        self._put(at, entry)\n"
            "\n"
            "    def fold"
        ),
        new="            pass\n        self._put(at, entry)\n\n    def fold",
        test="tests/transcript/test_view.py::test_results_stand_in_call_order_however_they_come",
    ),
    Guard(
        name="view-input-after-results",
        keeps="A note is not taken for the user's last word, which is never folded.",
        of="8, E8",
        file="power_loop/transcript/view.py",
        old='if entry.role == "user" and not entry.note), 0)',
        new='if entry.role == "user"), 0)',
        test="tests/transcript/test_view.py::test_the_last_input_is_the_users_and_no_note",
    ),
)
