"""A result of which the model is shown a part is kept whole, in the same commit, and read within one tree only."""

from __future__ import annotations

from typing import Final

from tests.guards.guard import Guard

READS: Final = "power_loop/store/reads.py"
SHOWING: Final = "tests/loop/test_large_results.py"
RECALLING: Final = "tests/loop/test_recalling.py"

GUARDS: Final = (
    Guard(
        name="outputs-of-one-tree",
        keeps="A result is read only by sessions of its own tree.",
        of="E7",
        file=READS,
        old=" and root_of(db, other) == root else None",
        new=" else None",
        test=f"{RECALLING}::test_e7_the_tree_of_a_session_reads_its_results_and_nobody_else",
    ),
    Guard(
        name="outputs-a-lost-whole-is-told",
        keeps="A part is never given as the whole, even where the row of the whole went missing.",
        of="E7, A9",
        file=READS,
        old="    if says_in_short(shown.text, handle):\n",
        new="    if False:\n",
        test="tests/store/test_damage.py::test_a9_a_row_that_was_moved_or_is_gone_is_told[a whole result gone]",
    ),
    Guard(
        name="outputs-claims-are-made-true",
        keeps="A result that only says that it is shown in short is not taken for one whose whole was lost.",
        of="E7",
        file="power_loop/loop/outputs.py",
        old="    claims = says_in_short(text, handle)\n",
        new="    claims = False\n",
        test=f"{RECALLING}::test_a_result_that_says_it_is_shown_in_short_is_kept_whole_so_that_it_is_true",
    ),
    Guard(
        name="outputs-not-cut-off",
        keeps="A call that returned is not lost because somebody is cancelled while its result is made short.",
        of="9, E7",
        file="power_loop/loop/outputs.py",
        old="await uncancelled(asyncio.to_thread(made))",
        new="await asyncio.to_thread(made)",
        also=(("from power_loop.shielding import uncancelled\n", ""),),
        test=f"{SHOWING}::test_a_call_that_has_returned_is_not_lost_while_its_result_is_made_short",
    ),
    Guard(
        name="outputs-whatever-a-shortener-does",
        keeps="An app's shortener that raises or gives nonsense loses no result.",
        of="E7",
        file="power_loop/transcript/shorten.py",
        old="    if not isinstance(short, str) or len(short) > len(text):\n",
        new="    if short is None:\n",
        test=f"{SHOWING}::test_a_shortener_that_fails_loses_no_result",
    ),
    Guard(
        name="outputs-in-the-commit",
        keeps="The whole text is committed with the part that is shown.",
        of="2, E7",
        file="power_loop/store/transactions/record.py",
        old="    if fact.output is not None:\n",
        new="    if False:\n",
        test=f"{SHOWING}::test_e7_the_model_is_shown_head_tail_and_handle_and_reads_the_rest_by_a_tool",
    ),
    Guard(
        name="outputs-checksum",
        keeps="A whole text with a flipped bit is never read as truth.",
        of="A9",
        file="power_loop/store/parsing.py",
        old='        if row["crc"] == seals.output_seal(session.key, seq, output):\n            return output\n',
        new="        return output\n",
        test="tests/damaged/test_damaged.py::test_every_damage_is_explained[checksum_outputs_crc]",
    ),
    Guard(
        name="outputs-drift-knows-the-recaller",
        keeps="A recall that was cut off runs again, also where changed tools are refused.",
        of="B4, E7",
        file="power_loop/stateful_loop/conductor.py",
        old="refuse_drift(session, calls, self.runner.gear.tool)",
        new="refuse_drift(session, calls, self.runner.gear.tools.get)",
        test=f"{RECALLING}::test_a_recall_that_was_cut_off_runs_again_in_a_fresh_process_without_the_apps_tools",
    ),
)
