"""What must hold between the rows of a sound database: one invariant, one named query, one line of the table.

The query `invariant_NAME` of `invariants.sql` gives a row (session, seq, what) for each place where it does not hold.
To add an invariant: the query, the line here and in docs/doctor.md, and a database in tests/damaged that breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from power_loop.errors import StoreError
from power_loop.store.port import Port
from power_loop.store.sqlite.doctor.findings import RESTORE, Finding, Grade, Spot
from power_loop.store.sqlite.faults import translated

LOST: Final = "rows are gone: restore a backup; the session can still be read with `power-loop show`"
BY_HAND: Final = "somebody wrote into the file, or it is a fault of power-loop: restore a backup, and report it"
HISTORY: Final = "the provider would refuse this history: restore a backup, or go on in a new session; and report it"
IN_DOUBT: Final = "find out outside what the call did before anything runs again; then restore a backup"
TAKE_OVER: Final = (
    "`power-loop abort SESSION`, or the next turn, writes down that its owner is gone; else restore a backup"
)


@dataclass(frozen=True, slots=True)
class Invariant:
    name: str
    holds: str
    """What is true of a sound database."""
    way_out: str


INVARIANTS: Final[Sequence[Invariant]] = (
    # Sessions
    Invariant("session_ids_unique", "an id names one session", BY_HAND),
    Invariant("parent_exists", "the parent of a session is there", LOST),
    Invariant("parent_is_older", "a parent was made before its children, so parents go in no circle", BY_HAND),
    Invariant("session_keys_counted", "the number of a session is never given out again", BY_HAND),
    Invariant("active_count", "a session has as many active messages as it counts", LOST),
    Invariant(
        "next_seq_free",
        "the next number of a session is above every message and every place kept for a result",
        BY_HAND,
    ),
    Invariant(
        "no_seq_gaps", "every number up to the next is a message, or is kept for the result of an open call", LOST
    ),
    Invariant("turns_numbered", "the turns of a session are numbered without a gap, and all are there", LOST),
    Invariant("usage_numbered", "the usage rows of a session are numbered without a gap, and all are there", LOST),
    Invariant(
        "events_numbered",
        "the events of a session are numbered without a gap, all are there, and each row has as many as it counts",
        LOST,
    ),
    Invariant("rows_have_a_session", "every row belongs to a session that is there", LOST),
    Invariant("rows_have_a_turn", "every row belongs to a turn that is there, or was written before the first", LOST),
    Invariant(
        "quarantined_is_at_rest",
        "nobody drives a quarantined session",
        "`power-loop free SESSION`, or `power-loop abort SESSION`",
    ),
    # Inputs
    Invariant("input_is_waiting_or_taken", "an input waits with its text, or a turn has it in a message", BY_HAND),
    Invariant("input_in_its_message", "an input that was taken in is a user's message of the turn that took it", LOST),
    Invariant("one_input_a_message", "a message is one input", BY_HAND),
    Invariant("request_waits_once", "a request id names one input, whether it waits or was taken in", BY_HAND),
    Invariant(
        "closed_has_no_inputs",
        "nothing waits in a closed session",
        "`power-loop withdraw SESSION NUMBER` takes an input out",
    ),
    Invariant(
        "closed_is_at_rest",
        "a closed session has no live turn and no open call",
        "`power-loop abort SESSION` ends what is open",
    ),
    # Owners
    Invariant(
        "owner_has_a_live_turn",
        "a session that is owned has a live turn",
        "the next turn takes it over; or restore a backup",
    ),
    Invariant("live_turn_has_an_owner", "a session with a live turn is owned", TAKE_OVER),
    Invariant("live_turn_is_its_owners", "a live turn has the epoch and the owner of its session", TAKE_OVER),
    Invariant("one_live_turn", "at most one turn of a session is live", BY_HAND),
    Invariant("live_turn_is_the_last", "no turn comes after a live one", BY_HAND),
    Invariant("owner_since_when", "an owner has its session since a known time", BY_HAND),
    Invariant(
        "stop_request_is_whole",
        "a request to stop has time, reason and checksum, and somebody to obey it",
        "the next turn clears it",
    ),
    Invariant("epoch_is_the_highest", "nothing was written under a higher epoch than the session's", BY_HAND),
    Invariant("turn_epochs_rise", "each turn has a higher epoch than the one before", BY_HAND),
    # Turns
    Invariant(
        "ended_turn_says_how", "a live turn has no end; an ended one has a time, a status and a checksum", BY_HAND
    ),
    Invariant("status_fits_the_state", "the status of an ended turn is one that its state allows", BY_HAND),
    Invariant(
        "answer_of_a_done_turn",
        "a turn is done exactly if it has an answer: its own last word, or a call that ended it",
        LOST,
    ),
    Invariant("failed_turn_has_its_error", "a turn has failed exactly if it has an error", BY_HAND),
    Invariant(
        "origin_is_an_input", "a turn has an input and maybe a request id, or goes on from one that has", BY_HAND
    ),
    Invariant("input_of_a_turn", "a turn that goes on from no other has the message of its input", LOST),
    Invariant("request_ids_unique", "a request id names one input of a session", BY_HAND),
    Invariant("tool_calls_counted", "a turn has as many calls as it counts", LOST),
    Invariant("rounds_counted", "a turn has as many answers of the model as it counts rounds, the wrap-up apart", LOST),
    Invariant("usage_of_answers", "every answer of the model has its usage row", LOST),
    # Messages
    Invariant("folded_says_by_what", "a message is compacted out exactly if it says by which compaction", BY_HAND),
    Invariant("folded_by_a_compaction", "the compaction that folded a message is there", LOST),
    Invariant("note_of_its_compaction", "a note is known to its compaction", LOST),
    Invariant("compaction_has_its_note", "the note of a compaction is there, and says whose it is", LOST),
    Invariant(
        "compaction_counts", "a compaction folded as many messages as it counts, from its first to its last", BY_HAND
    ),
    Invariant("undone_holds_its_notes", "of a compaction that was undone only its own notes are folded by it", BY_HAND),
    Invariant("pinned_stays", "a pinned message is never folded", BY_HAND),
    Invariant("place_is_where_written", "a message stands where it was written; a note earlier", BY_HAND),
    Invariant("one_message_a_place", "at most one active message stands at a place", HISTORY),
    # The ledger of calls
    Invariant(
        "calls_of_answers", "the ledger has every call an answer asks for, with its id, name and arguments", IN_DOUBT
    ),
    Invariant("call_was_asked_for", "every call in the ledger was asked for by an answer of the same turn", BY_HAND),
    Invariant("call_ids_distinct", "the calls of an answer have different ids", HISTORY),
    Invariant("result_answers_a_call", "every result answers a call", HISTORY),
    Invariant("result_is_of_its_call", "the result of a call is there, and names it", HISTORY),
    Invariant("one_result_a_call", "a message is the result of one call", HISTORY),
    Invariant(
        "result_in_its_place", "the results of an answer are numbered after it, in the order of its calls", HISTORY
    ),
    Invariant("short_result_is_kept_whole", "a result that is shown in short is kept whole", LOST),
    Invariant("output_of_a_short_result", "what is kept whole is a result that is shown in short", BY_HAND),
    Invariant(
        "pairs_fold_together", "an answer and the results of its calls are folded together or not at all", HISTORY
    ),
    Invariant("protocol", "the results of an answer stand directly after it, and nothing in between", HISTORY),
    Invariant("open_calls_at_the_end", "nothing comes after an answer with open calls but its results", HISTORY),
    Invariant("open_calls_fit_the_turn", "no call is open once the turn asks the model or is done", IN_DOUBT),
    Invariant(
        "settled_call_has_its_evidence",
        "a settled call has result, time and whose word it is; an open one none of them",
        IN_DOUBT,
    ),
    Invariant(
        "started_call_has_its_evidence",
        "a started call says when and how often; one that never was has no outcome of a run",
        IN_DOUBT,
    ),
    Invariant(
        "settled_by_fits_the_state", "the state of a settled call is one that whoever settled it can give", IN_DOUBT
    ),
    # What calls wait for
    Invariant("wait_of_a_call", "somebody is waited for, for a call that is there", LOST),
    Invariant("waits_counted", "what calls have waited for is all there", LOST),
    Invariant("rules_counted", "what rules remember is all there", LOST),
    Invariant(
        "approval_asked_for",
        "a call that waits for an approval is one that somebody is asked about",
        "`power-loop abort SESSION` gives it up; or restore a backup",
    ),
    Invariant("ran_as_approved", "no call went on whose approval is waited for, or was not given", IN_DOUBT),
    Invariant("awaited_was_handed_over", "a call whose result the host is to give was started", IN_DOUBT),
)


def consistency(db: Port) -> Iterator[Finding]:
    """One finding for all invariants, and after it one for each that does not hold."""
    broken: list[Finding] = []
    unread: list[Spot] = []
    for invariant in INVARIANTS:
        try:
            with translated(db.path):
                rows = db.all(f"invariant_{invariant.name}")
        except StoreError as error:
            unread.append(Spot(what=f"{invariant.name}: {error.problem}"))
            continue
        if rows:
            spots = sorted(
                (Spot(session=row["session"], seq=row["seq"], what=row["what"]) for row in rows),
                key=lambda spot: (spot.session or "", spot.seq or 0),
            )
            words = f"it does not hold that {invariant.holds}"
            broken.append(
                Finding(
                    name=invariant.name, grade=Grade.BAD, words=words, way_out=invariant.way_out, spots=tuple(spots)
                )
            )
    if not broken and not unread:
        yield Finding(name="consistency", words=f"all {len(INVARIANTS)} invariants hold")
        return
    words = f"{len(broken)} of {len(INVARIANTS)} invariants do not hold"
    if unread:
        words += f", {len(unread)} could not be examined"
    yield Finding(name="consistency", grade=Grade.BAD, words=words, way_out=RESTORE, spots=tuple(unread))
    yield from broken
