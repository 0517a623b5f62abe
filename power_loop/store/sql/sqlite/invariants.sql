-- One statement an invariant: each row that comes back breaks it, as session (its id), seq (the message, if one is meant)
-- and what.
-- They take neither CHECKs nor unique indexes nor foreign keys for granted: a file may have lost them.

-- name: invariant_session_ids_unique
SELECT id AS session, NULL AS seq, count(*) || ' sessions have this id' AS what
  FROM sessions NOT INDEXED GROUP BY id HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_parent_exists
SELECT s.id AS session, NULL AS seq, 'its parent, session number ' || s.parent || ', is not there' AS what
  FROM sessions s
 WHERE s.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions p WHERE p.key = s.parent) LIMIT 1000;

-- name: invariant_parent_is_older
SELECT s.id AS session, NULL AS seq, 'its parent, session ' || p.id || ', was made after it' AS what
  FROM sessions s JOIN sessions p ON p.key = s.parent
 WHERE p.key >= s.key LIMIT 1000;

-- name: invariant_session_keys_counted
SELECT s.id AS session, NULL AS seq, 'its number ' || s.key || ' would be given out again' AS what
  FROM sessions s
 WHERE s.key > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'sessions') LIMIT 1000;

-- name: invariant_active_count
SELECT s.id AS session, NULL AS seq,
       s.active || ' active messages were written, ' || count(m.seq) || ' are there' AS what
  FROM sessions s LEFT JOIN messages m ON m.session = s.key AND m.state = 'active'
 GROUP BY s.key HAVING s.active <> count(m.seq) LIMIT 1000;

-- name: invariant_next_seq_free
-- The numbers right after an answer are kept for the results of its calls.
SELECT s.id AS session, max(t.seq) AS seq,
       'number ' || s.next_seq || ' is the next, though ' || max(t.seq) || ' is taken' AS what
  FROM (SELECT session, seq FROM messages UNION ALL SELECT session, seq + 1 + ordinal FROM calls) t
  JOIN sessions s ON s.key = t.session
 GROUP BY s.key HAVING max(t.seq) >= s.next_seq LIMIT 1000;

-- name: invariant_no_seq_gaps
SELECT s.id AS session, g.seq + 1 AS seq,
       iif(g.after = g.seq + 2, 'message ' || (g.seq + 1) || ' is', 'messages ' || (g.seq + 1) || ' to '
           || (g.after - 1) || ' are')
           || ' gone' AS what
  FROM (SELECT session, seq, lead(seq) OVER (PARTITION BY session ORDER BY seq) AS after
          FROM (SELECT session, seq FROM messages
                UNION SELECT session, seq + 1 + ordinal FROM calls WHERE result_seq IS NULL
                UNION SELECT key, 0 FROM sessions NOT INDEXED
                UNION SELECT key, next_seq FROM sessions NOT INDEXED)) g
  JOIN sessions s ON s.key = g.session
 WHERE g.after > g.seq + 1 LIMIT 1000;

-- name: invariant_turns_numbered
SELECT s.id AS session, NULL AS seq,
       (s.next_turn - 1) || ' turns were written, ' || count(t.number) || ' are there' AS what
  FROM sessions s LEFT JOIN turns t ON t.session = s.key
 GROUP BY s.key
HAVING s.next_turn - 1 <> count(t.number) OR s.next_turn - 1 <> coalesce(max(t.number), 0) LIMIT 1000;

-- name: invariant_usage_numbered
SELECT s.id AS session, NULL AS seq,
       s.usage_rows || ' usage rows were written, ' || count(u.number) || ' are there' AS what
  FROM sessions s LEFT JOIN usage u ON u.session = s.key
 GROUP BY s.key
HAVING s.usage_rows <> count(u.number) OR s.usage_rows <> coalesce(max(u.number), 0) LIMIT 1000;

-- name: invariant_events_numbered
SELECT s.id AS session, NULL AS seq, e.what AS what
  FROM (SELECT session, 'events ' || then_ || ' to ' || (number - 1) || ' are not there' AS what
          FROM (SELECT session, number, lag(number + facts, 1, 1) OVER (PARTITION BY session ORDER BY number) AS then_
                  FROM events)
         WHERE number <> then_
        UNION ALL
        SELECT session, 'the row of event ' || number || ' counts ' || facts || ' facts, and has others'
          FROM events
         WHERE CASE WHEN json_valid(body) THEN json_array_length(body) END IS NOT facts
        UNION ALL
        SELECT c.key, c.events || ' events happened, the last that is there is ' || coalesce(max(e.number + e.facts - 1), 0)
          FROM sessions c LEFT JOIN events e ON e.session = c.key
         GROUP BY c.key
        HAVING c.events <> coalesce(max(e.number + e.facts - 1), 0)) e
  JOIN sessions s ON s.key = e.session
 LIMIT 1000;

-- name: invariant_rows_have_a_session
SELECT NULL AS session, NULL AS seq,
       count(*) || ' rows of ' || r.kind || ' belong to session number ' || r.session || ', which is gone' AS what
  FROM (SELECT session, 'turns' AS kind FROM turns UNION ALL SELECT session, 'messages' FROM messages
        UNION ALL SELECT session, 'calls' FROM calls UNION ALL SELECT session, 'usage' FROM usage
        UNION ALL SELECT session, 'compactions' FROM compactions
        UNION ALL SELECT session, 'outputs' FROM outputs
        UNION ALL SELECT session, 'waits' FROM waits
        UNION ALL SELECT session, 'events' FROM events
        UNION ALL SELECT session, 'rules' FROM rules
        UNION ALL SELECT session, 'inputs' FROM inputs) r
 WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.key = r.session)
 GROUP BY r.session, r.kind LIMIT 1000;

-- name: invariant_rows_have_a_turn
-- What was written before any turn has turn 0; a call never is.
SELECT s.id AS session, min(r.seq) AS seq,
       count(*) || ' rows of ' || r.kind || ' belong to turn ' || r.turn || ', which is not there' AS what
  FROM (SELECT session, turn, seq, 'messages' AS kind FROM messages
        UNION ALL SELECT session, turn, NULL, 'usage' FROM usage
        UNION ALL SELECT session, turn, NULL, 'compactions' FROM compactions
        UNION ALL SELECT session, turn, NULL, 'rules' FROM rules) r
  JOIN sessions s ON s.key = r.session
 WHERE r.turn <> 0 AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.session = r.session AND t.number = r.turn)
 GROUP BY r.session, r.turn, r.kind LIMIT 1000;

-- name: invariant_owner_has_a_live_turn
SELECT s.id AS session, NULL AS seq, 'somebody owns the session, and no turn is live' AS what
  FROM sessions s
 WHERE s.owner IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.session = s.key AND t.state IN ('asking', 'acting')) LIMIT 1000;

-- name: invariant_live_turn_has_an_owner
SELECT s.id AS session, NULL AS seq, 'turn ' || t.number || ' is live, and nobody owns the session' AS what
  FROM sessions s JOIN turns t ON t.session = s.key AND t.state IN ('asking', 'acting')
 WHERE s.owner IS NULL LIMIT 1000;

-- name: invariant_live_turn_is_its_owners
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' is live under epoch ' || t.epoch || ' of ' || t.owner || ', the session under epoch '
           || s.epoch || ' of ' || s.owner AS what
  FROM sessions s JOIN turns t ON t.session = s.key AND t.state IN ('asking', 'acting')
 WHERE t.epoch <> s.epoch OR t.owner <> s.owner LIMIT 1000;

-- name: invariant_one_live_turn
SELECT s.id AS session, NULL AS seq, count(*) || ' turns are live: ' || group_concat(t.number, ', ') AS what
  FROM sessions s JOIN turns t ON t.session = s.key AND t.state IN ('asking', 'acting')
 GROUP BY s.key HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_live_turn_is_the_last
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' is live, though turn ' || max(l.number) || ' came after it' AS what
  FROM sessions s
  JOIN turns t ON t.session = s.key AND t.state IN ('asking', 'acting')
  JOIN turns l ON l.session = s.key AND l.number > t.number
 GROUP BY s.key, t.number LIMIT 1000;

-- name: invariant_owner_since_when
SELECT id AS session, NULL AS seq,
       iif(owner IS NULL, 'nobody owns it, since a certain time', 'its owner has it since no time') AS what
  FROM sessions WHERE (owner IS NULL) <> (owner_since IS NULL) LIMIT 1000;

-- name: invariant_stop_request_is_whole
SELECT id AS session, NULL AS seq,
       iif(owner IS NULL, 'a stop is requested of nobody', 'a stop is requested without time, reason or checksum') AS what
  FROM sessions
 WHERE (stop_requested_at IS NULL) <> (stop_reason IS NULL) OR (stop_requested_at IS NULL) <> (stop_crc IS NULL)
    OR (stop_requested_at IS NOT NULL AND owner IS NULL) LIMIT 1000;

-- name: invariant_epoch_is_the_highest
SELECT s.id AS session, NULL AS seq,
       'its epoch is ' || s.epoch || ', though something was written under ' || max(e.epoch) AS what
  FROM sessions s
  JOIN (SELECT session, epoch FROM turns UNION ALL SELECT session, epoch FROM calls) e ON e.session = s.key
 GROUP BY s.key HAVING max(e.epoch) > s.epoch LIMIT 1000;

-- name: invariant_turn_epochs_rise
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' has epoch ' || t.epoch || ', the one before it ' || b.epoch AS what
  FROM turns t
  JOIN turns b ON b.session = t.session AND b.number = t.number - 1
  JOIN sessions s ON s.key = t.session
 WHERE t.epoch <= b.epoch LIMIT 1000;

-- name: invariant_closed_is_at_rest
SELECT s.id AS session, c.seq AS seq,
       iif(c.seq IS NULL, 'it is closed, and a turn of it is live', 'it is closed, and a call of it is open') AS what
  FROM sessions s
  LEFT JOIN (SELECT session, min(seq) AS seq FROM calls WHERE result_seq IS NULL GROUP BY session) c ON c.session = s.key
 WHERE s.closed_at IS NOT NULL
   AND (c.seq IS NOT NULL OR EXISTS (SELECT 1 FROM turns t WHERE t.session = s.key
           AND t.state IN ('asking', 'acting'))) LIMIT 1000;

-- name: invariant_ended_turn_says_how
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' is ' || t.state || iif(t.ended_at IS NULL, ' and has no end', ' and ended')
           || iif(t.status IS NULL, ', without a status', ', as ' || t.status) AS what
  FROM turns t JOIN sessions s ON s.key = t.session
 WHERE (t.state IN ('asking', 'acting')) <> (t.ended_at IS NULL)
    OR (t.ended_at IS NULL) <> (t.status IS NULL) OR (t.ended_at IS NULL) <> (t.end_crc IS NULL) LIMIT 1000;

-- name: invariant_status_fits_the_state
SELECT s.id AS session, NULL AS seq, 'turn ' || t.number || ' is ' || t.state || ', and ended as ' || t.status AS what
  FROM turns t JOIN sessions s ON s.key = t.session
 WHERE t.status IS NOT NULL AND t.state NOT IN ('asking', 'acting')
   AND t.status NOT IN (SELECT f.status
                          FROM (SELECT 'done' AS state, 'completed' AS status
                                UNION ALL VALUES ('done', 'hit_round_limit'), ('done', 'budget_exceeded'),
                                ('waiting', 'pending_tools'), ('waiting', 'awaiting_approval'), ('waiting', 'waiting_for_input'),
                                ('cancelled', 'cancelled'), ('cancelled', 'stopped'), ('cancelled', 'budget_exceeded'),
                                ('failed', 'failed'), ('interrupted', 'interrupted')) f
                         WHERE f.state = t.state) LIMIT 1000;

-- name: invariant_answer_of_a_done_turn
SELECT s.id AS session, t.answer_seq AS seq,
       'turn ' || t.number || ' is ' || t.state
           || CASE WHEN t.answer_seq IS NULL THEN ' without an answer'
                   WHEN m.seq IS NULL THEN ', and message ' || t.answer_seq || ', its answer, is not there'
                   WHEN t.state <> 'done' THEN ' and has an answer'
                   ELSE ', and message ' || m.seq || ' is no answer of it' END AS what
  FROM turns t
  JOIN sessions s ON s.key = t.session
  LEFT JOIN messages m ON m.session = t.session AND m.seq = t.answer_seq
 WHERE (t.state = 'done') <> (t.answer_seq IS NOT NULL)
    OR (t.answer_seq IS NOT NULL
        AND (m.seq IS NULL OR m.role <> 'assistant' OR m.turn NOT BETWEEN t.origin AND t.number
             OR CASE (SELECT count(*) FROM calls c WHERE c.session = m.session AND c.seq = m.seq)
                    WHEN 0 THEN m.turn <> t.number
                    ELSE NOT EXISTS (SELECT 1 FROM calls c WHERE c.session = m.session AND c.seq = m.seq
                                        AND c.state = 'succeeded') END)) LIMIT 1000;

-- name: invariant_failed_turn_has_its_error
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' is ' || t.state || iif(t.error_code IS NULL, ' without an error', ' and has an error') AS what
  FROM turns t JOIN sessions s ON s.key = t.session
 WHERE (t.state = 'failed') <> (t.error_code IS NOT NULL) LIMIT 1000;

-- name: invariant_origin_is_an_input
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' goes on from turn ' || t.origin || ', which is no turn with an input' AS what
  FROM turns t
  JOIN sessions s ON s.key = t.session
  LEFT JOIN turns o ON o.session = t.session AND o.number = t.origin
 WHERE t.origin > t.number OR o.number IS NULL OR o.origin <> o.number
    OR (t.request_id IS NOT NULL AND t.origin <> t.number) LIMIT 1000;

-- name: invariant_input_of_a_turn
SELECT s.id AS session, NULL AS seq, 'turn ' || t.number || ' has no input' AS what
  FROM turns t JOIN sessions s ON s.key = t.session
 WHERE t.origin = t.number
   AND NOT EXISTS (SELECT 1 FROM messages m
                    WHERE m.session = t.session AND m.turn = t.number AND m.role = 'user' AND m.note_of IS NULL) LIMIT 1000;

-- name: invariant_request_ids_unique
SELECT s.id AS session, NULL AS seq, count(*) || ' inputs have the request id ' || t.request_id AS what
  FROM turns t JOIN sessions s ON s.key = t.session
 WHERE t.request_id IS NOT NULL
 GROUP BY t.session, t.request_id HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_tool_calls_counted
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' counts ' || t.tool_calls || ' calls, the ledger has ' || count(c.seq) AS what
  FROM turns t
  JOIN sessions s ON s.key = t.session
  LEFT JOIN calls c ON c.session = t.session AND c.turn = t.number
 GROUP BY t.session, t.number HAVING t.tool_calls <> count(c.seq) LIMIT 1000;

-- name: invariant_rounds_counted
-- The wrap-up after the last round is none.
SELECT s.id AS session, NULL AS seq,
       'turn ' || t.number || ' counts ' || t.rounds || ' rounds, and has ' || count(m.seq) || ' answers of the model' AS what
  FROM turns t
  JOIN sessions s ON s.key = t.session
  LEFT JOIN messages m ON m.session = t.session AND m.turn = t.number AND m.role = 'assistant'
 GROUP BY t.session, t.number
HAVING t.rounds <> count(m.seq) - (t.status IS 'hit_round_limit') LIMIT 1000;

-- name: invariant_usage_of_answers
SELECT s.id AS session, NULL AS seq,
       'turn ' || a.turn || ' has ' || sum(a.answer) || ' answers and ' || sum(a.paid) || ' usage rows of answers' AS what
  FROM (SELECT session, turn, 1 AS answer, 0 AS paid FROM messages WHERE role = 'assistant'
        UNION ALL SELECT session, turn, 0, 1 FROM usage WHERE purpose = 'answer') a
  JOIN sessions s ON s.key = a.session
 GROUP BY a.session, a.turn HAVING sum(a.answer) <> sum(a.paid) LIMIT 1000;

-- name: invariant_folded_says_by_what
SELECT s.id AS session, m.seq AS seq,
       'message ' || m.seq || ' is ' || m.state || iif(m.folded_by IS NULL, ' by nothing', ' and folded') AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE (m.state = 'compacted_out') <> (m.folded_by IS NOT NULL) LIMIT 1000;

-- name: invariant_folded_by_a_compaction
SELECT s.id AS session, m.seq AS seq,
       'message ' || m.seq || ' was folded by compaction ' || m.folded_by || ', which is not there' AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE m.folded_by IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM compactions c WHERE c.session = m.session AND c.number = m.folded_by) LIMIT 1000;

-- name: invariant_note_of_its_compaction
SELECT s.id AS session, m.seq AS seq,
       'message ' || m.seq || ' is the note of compaction ' || m.note_of || ', which does not know it' AS what
  FROM messages m
  JOIN sessions s ON s.key = m.session
  LEFT JOIN compactions c ON c.session = m.session AND c.number = m.note_of
 WHERE m.note_of IS NOT NULL AND (c.number IS NULL OR m.seq NOT BETWEEN c.note_seq AND c.note_seq + c.notes - 1) LIMIT 1000;

-- name: invariant_compaction_has_its_note
SELECT s.id AS session, c.note_seq AS seq,
       'of the ' || c.notes || ' notes of compaction ' || c.number || ', from ' || c.note_seq || ' on, ' || count(m.seq)
           || ' say so' AS what
  FROM compactions c
  JOIN sessions s ON s.key = c.session
  LEFT JOIN messages m ON m.session = c.session AND m.note_of = c.number
                      AND m.seq BETWEEN c.note_seq AND c.note_seq + c.notes - 1
 GROUP BY c.session, c.number HAVING count(m.seq) <> c.notes LIMIT 1000;

-- name: invariant_compaction_counts
SELECT s.id AS session, c.note_seq AS seq,
       'compaction ' || c.number || ' folded ' || c.folded || ' messages from ' || c.first_seq || ' to ' || c.last_seq || ', '
           || count(m.seq) || ' from ' || coalesce(min(m.seq), 0) || ' to ' || coalesce(max(m.seq), 0) || ' are folded' AS what
  FROM compactions c
  JOIN sessions s ON s.key = c.session
  LEFT JOIN messages m ON m.session = c.session AND m.folded_by = c.number
 WHERE c.undone_at IS NULL  -- once undone, it holds only its own notes
 GROUP BY c.session, c.number
HAVING c.folded <> count(m.seq) OR c.first_seq IS NOT min(m.seq) OR c.last_seq IS NOT max(m.seq) LIMIT 1000;

-- name: invariant_undone_holds_its_notes
SELECT s.id AS session, c.note_seq AS seq,
       'compaction ' || c.number || ' was undone; ' || count(m.seq) || ' messages are folded by it, its notes are '
           || c.notes AS what
  FROM compactions c
  JOIN sessions s ON s.key = c.session
  LEFT JOIN messages m ON m.session = c.session AND m.folded_by = c.number
 WHERE c.undone_at IS NOT NULL
 GROUP BY c.session, c.number
HAVING count(m.seq) <> c.notes OR sum(m.note_of IS c.number) <> c.notes LIMIT 1000;

-- name: invariant_pinned_stays
SELECT s.id AS session, m.seq AS seq, 'message ' || m.seq || ' is pinned, and was folded' AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE m.pinned AND m.state <> 'active' LIMIT 1000;

-- name: invariant_place_is_where_written
-- Only a note stands elsewhere: before it was written, where what it folded began.
SELECT s.id AS session, m.seq AS seq, 'message ' || m.seq || ' stands at ' || m.place AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE m.place <> m.seq AND (m.note_of IS NULL OR m.place > m.seq) LIMIT 1000;

-- name: invariant_one_message_a_place
SELECT s.id AS session, min(m.seq) AS seq, 'messages ' || group_concat(m.seq, ', ') || ' stand at the same place' AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE m.state = 'active'
 GROUP BY m.session, m.place HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_calls_of_answers
-- By number, id, name and arguments.
SELECT s.id AS session, a.seq AS seq,
       CASE WHEN a.kept = 0 THEN 'message ' || a.seq || ' asks for call ' || a.id || ', which the ledger does not know'
            ELSE 'the ledger has another call ' || a.ordinal || ' than message ' || a.seq || ' asks for' END AS what
  FROM (SELECT m.session, m.seq, j.key AS ordinal, j.value ->> 'id' AS id, count(c.seq) AS kept,
               max(c.id IS j.value ->> 'id' AND c.name IS j.value ->> '$.function.name'
                   AND c.arguments IS j.value ->> '$.function.arguments') AS same
          FROM messages m
          JOIN json_each(CASE WHEN json_valid(m.body) THEN m.body ELSE '{}' END, '$.tool_calls') j ON m.role = 'assistant'
          LEFT JOIN calls c ON c.session = m.session AND c.seq = m.seq AND c.ordinal = j.key
         GROUP BY m.session, m.seq, j.key) a
  JOIN sessions s ON s.key = a.session
 WHERE a.kept = 0 OR NOT a.same LIMIT 1000;

-- name: invariant_call_was_asked_for
SELECT s.id AS session, c.seq AS seq, 'message ' || c.seq || ' does not ask for call ' || c.id || ', or in another turn' AS what
  FROM calls c
  JOIN sessions s ON s.key = c.session
  LEFT JOIN messages m ON m.session = c.session AND m.seq = c.seq
 WHERE m.seq IS NULL OR m.role <> 'assistant' OR m.turn <> c.turn
    OR CASE WHEN json_valid(m.body) THEN json_extract(m.body, '$.tool_calls[' || c.ordinal || ']') IS NULL END LIMIT 1000;

-- name: invariant_call_ids_distinct
SELECT s.id AS session, c.seq AS seq, count(*) || ' calls of message ' || c.seq || ' have the id ' || c.id AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 GROUP BY c.session, c.seq, c.id HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_result_answers_a_call
SELECT s.id AS session, m.seq AS seq, 'message ' || m.seq || ' answers no call' AS what
  FROM messages m
  JOIN sessions s ON s.key = m.session
  LEFT JOIN calls c ON c.session = m.session AND c.result_seq = m.seq
 WHERE m.role = 'tool' AND m.note_of IS NULL AND c.seq IS NULL LIMIT 1000;

-- name: invariant_result_is_of_its_call
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' has message ' || c.result_seq || ' as its result, which '
           || iif(m.seq IS NULL, 'is not there', 'answers another') AS what
  FROM calls c
  JOIN sessions s ON s.key = c.session
  LEFT JOIN messages m ON m.session = c.session AND m.seq = c.result_seq
 WHERE c.result_seq IS NOT NULL
   AND (m.seq IS NULL OR m.role <> 'tool'
        OR CASE WHEN json_valid(m.body) THEN json_extract(m.body, '$.tool_call_id') IS NOT c.id END) LIMIT 1000;

-- name: invariant_one_result_a_call
SELECT s.id AS session, c.result_seq AS seq, 'message ' || c.result_seq || ' is the result of ' || count(*) || ' calls' AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE c.result_seq IS NOT NULL
 GROUP BY c.session, c.result_seq HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_result_in_its_place
SELECT s.id AS session, c.seq AS seq,
       'the result of call ' || c.id || ' of message ' || c.seq || ' is message ' || c.result_seq || ', not '
           || (c.seq + 1 + c.ordinal) AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE c.result_seq <> c.seq + 1 + c.ordinal LIMIT 1000;

-- name: invariant_short_result_is_kept_whole
SELECT s.id AS session, m.seq AS seq, 'message ' || m.seq || ' shows a part of a result, and the whole is not there' AS what
  FROM messages m JOIN sessions s ON s.key = m.session
 WHERE m.role = 'tool' AND json_valid(m.body)
   AND instr(json_extract(m.body, '$.content'), char(10) || '[Result ' || m.session || '.' || m.seq || ' is shown in short: ')
   AND NOT EXISTS (SELECT 1 FROM outputs o WHERE o.session = m.session AND o.seq = m.seq) LIMIT 1000;

-- name: invariant_output_of_a_short_result
SELECT s.id AS session, o.seq AS seq,
       'a whole text is kept for message ' || o.seq || ', which '
           || CASE WHEN m.seq IS NULL THEN 'is not there'
                   WHEN m.role <> 'tool' THEN 'is no result'
                   ELSE 'does not say that it shows a part' END AS what
  FROM outputs o
  JOIN sessions s ON s.key = o.session
  LEFT JOIN messages m ON m.session = o.session AND m.seq = o.seq
 WHERE m.seq IS NULL OR m.role <> 'tool'
    OR (json_valid(m.body) AND NOT instr(json_extract(m.body, '$.content'),
            char(10) || '[Result ' || m.session || '.' || m.seq || ' is shown in short: ')) LIMIT 1000;

-- name: invariant_pairs_fold_together
-- A result may have been folded alone if a short one stands in its place: then that one counts.
SELECT s.id AS session, c.seq AS seq,
       'message ' || a.seq || ' is ' || a.state || ', its result ' || r.seq || ' is ' || r.state AS what
  FROM calls c
  JOIN messages a ON a.session = c.session AND a.seq = c.seq
  JOIN messages r ON r.session = c.session AND r.seq = c.result_seq
  JOIN sessions s ON s.key = c.session
  LEFT JOIN compactions k ON k.session = r.session AND k.number = r.folded_by
  LEFT JOIN messages n ON n.session = r.session AND n.seq BETWEEN k.note_seq AND k.note_seq + k.notes - 1
                      AND n.note_of = k.number AND n.place = r.seq AND n.role = 'tool'
 WHERE a.state <> coalesce(n.state, r.state) OR a.folded_by IS NOT iif(n.seq IS NULL, r.folded_by, n.folded_by) LIMIT 1000;

-- name: invariant_protocol
-- Between an answer and the results of its calls stands nothing else: the n-th active message after it is one of them.
WITH active AS (
    SELECT session, seq, role, row_number() OVER (PARTITION BY session ORDER BY place, seq) AS n
      FROM messages WHERE state = 'active'),
answered AS (
    SELECT session, seq, count(*) AS settled FROM calls WHERE result_seq IS NOT NULL GROUP BY session, seq)
SELECT s.id AS session, c.seq AS seq,
       'the result of call ' || c.id || ', message ' || r.seq || ', does not stand directly after message ' || c.seq AS what
  FROM calls c
  JOIN answered d ON d.session = c.session AND d.seq = c.seq
  JOIN active a ON a.session = c.session AND a.seq = c.seq
  JOIN active r ON r.session = c.session AND r.seq = c.result_seq
  JOIN sessions s ON s.key = c.session
 WHERE r.n <= a.n OR r.n > a.n + d.settled LIMIT 1000;

-- name: invariant_open_calls_at_the_end
-- But for the notes of a compaction, which stand before it.
SELECT s.id AS session, o.seq AS seq,
       'message ' || o.seq || ' has an open call, and message ' || max(m.seq) || ' came after it' AS what
  FROM (SELECT session, seq FROM calls WHERE result_seq IS NULL GROUP BY session, seq) o
  JOIN messages m ON m.session = o.session AND m.note_of IS NULL
   AND m.seq > o.seq + (SELECT count(*) FROM calls c WHERE c.session = o.session AND c.seq = o.seq)
  JOIN sessions s ON s.key = o.session
 GROUP BY o.session, o.seq LIMIT 1000;

-- name: invariant_open_calls_fit_the_turn
SELECT s.id AS session, min(c.seq) AS seq, count(*) || ' calls are open, though the last turn is ' || t.state AS what
  FROM sessions s
  JOIN turns t ON t.session = s.key AND t.number = (SELECT max(l.number) FROM turns l WHERE l.session = s.key)
  JOIN calls c ON c.session = s.key AND c.result_seq IS NULL
 WHERE t.state IN ('asking', 'done')
 GROUP BY s.key LIMIT 1000;

-- name: invariant_settled_call_has_its_evidence
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' is ' || c.state
           || iif(c.result_seq IS NULL, ' without a result', ' and has a result')
           || iif(c.settled_at IS NULL, ', settled at no time', '')
           || iif(c.settled_by IS NULL, ', settled by nobody', '') AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE (c.state IN ('requested', 'awaiting_approval', 'started')) <> (c.result_seq IS NULL)
    OR (c.result_seq IS NULL) <> (c.settled_at IS NULL) OR (c.result_seq IS NULL) <> (c.settled_by IS NULL) LIMIT 1000;

-- name: invariant_started_call_has_its_evidence
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' is ' || c.state || ', started ' || c.attempt || ' times, last '
           || iif(c.started_at IS NULL, 'at no time', 'at a time')
           || iif(c.decision IS NULL, '', ', decided to ' || c.decision) AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE (c.attempt = 0) <> (c.started_at IS NULL)
    OR (c.attempt = 0 AND (c.state IN ('started', 'succeeded', 'timed_out', 'reported') OR c.decision IS NOT NULL))
    OR (c.attempt > 0 AND c.state = 'requested') LIMIT 1000;

-- name: invariant_settled_by_fits_the_state
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' is ' || c.state || ', settled by ' || c.settled_by AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE c.settled_by IS NOT NULL
   AND ((c.state = 'aborted') <> (c.settled_by = 'abort') OR (c.state = 'reported') <> (c.settled_by = 'report')
        OR (c.state = 'timed_out' AND c.settled_by <> 'run') OR (c.state = 'succeeded' AND c.settled_by = 'gate')
        OR (c.state = 'denied' AND c.settled_by NOT IN ('gate', 'person'))) LIMIT 1000;

-- name: invariant_wait_of_a_call
SELECT s.id AS session, w.seq AS seq,
       'somebody is waited for, for call ' || w.ordinal || ' of message ' || w.seq || ', which is not there' AS what
  FROM waits w JOIN sessions s ON s.key = w.session
 WHERE NOT EXISTS (SELECT 1 FROM calls c WHERE c.session = w.session AND c.seq = w.seq AND c.ordinal = w.ordinal) LIMIT 1000;

-- name: invariant_waits_counted
SELECT s.id AS session, NULL AS seq,
       'calls have waited ' || s.waits || ' times, and there are ' || count(w.seq) || ' rows of that' AS what
  FROM sessions s LEFT JOIN waits w ON w.session = s.key
 GROUP BY s.key HAVING count(w.seq) <> s.waits LIMIT 1000;

-- name: invariant_rules_counted
SELECT s.id AS session, NULL AS seq, s.rules || ' rules remember something, and ' || count(r.name) || ' are there' AS what
  FROM sessions s LEFT JOIN rules r ON r.session = s.key
 GROUP BY s.key HAVING count(r.name) <> s.rules LIMIT 1000;

-- name: invariant_approval_asked_for
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' waits for an approval that nobody is asked for' AS what
  FROM calls c JOIN sessions s ON s.key = c.session
 WHERE c.state = 'awaiting_approval'
   AND NOT EXISTS (SELECT 1 FROM waits w
                    WHERE w.session = c.session AND w.seq = c.seq AND w.ordinal = c.ordinal AND w.kind = 'approval') LIMIT 1000;

-- name: invariant_ran_as_approved
-- What needs an approval goes on by that alone; a call that was given up or denied has not run.
SELECT s.id AS session, c.seq AS seq,
       'call ' || c.id || ' of message ' || c.seq || ' is ' || c.state || ', and its approval '
           || iif(w.decision IS NULL, 'is still waited for', 'was ' || w.decision) AS what
  FROM waits w
  JOIN calls c ON c.session = w.session AND c.seq = w.seq AND c.ordinal = w.ordinal
  JOIN sessions s ON s.key = w.session
 WHERE w.kind = 'approval' AND w.decision IS NOT 'approved'
   AND c.state NOT IN ('awaiting_approval', 'denied', 'aborted') LIMIT 1000;

-- name: invariant_awaited_was_handed_over
SELECT s.id AS session, c.seq AS seq,
       'the host is to answer call ' || c.id || ' of message ' || c.seq || ', which was never started' AS what
  FROM waits w
  JOIN calls c ON c.session = w.session AND c.seq = w.seq AND c.ordinal = w.ordinal
  JOIN sessions s ON s.key = w.session
 WHERE w.kind = 'result' AND c.attempt = 0 LIMIT 1000;

-- name: invariant_input_is_waiting_or_taken
SELECT s.id AS session, i.seq AS seq,
       'input ' || i.number || iif(i.body IS NULL, ' was taken in', ' waits')
           || iif(i.turn IS NULL, ', by no turn', ', and a turn took it') AS what
  FROM inputs i JOIN sessions s ON s.key = i.session
 WHERE (i.turn IS NULL) <> (i.body IS NOT NULL) OR (i.turn IS NULL) <> (i.seq IS NULL)
    OR (i.turn IS NULL) <> (i.taken_at IS NULL) LIMIT 1000;

-- name: invariant_input_in_its_message
SELECT s.id AS session, i.seq AS seq,
       'input ' || i.number || ' should be message ' || i.seq || ' of turn ' || i.turn || ', and is not' AS what
  FROM inputs i JOIN sessions s ON s.key = i.session
 WHERE i.seq IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM messages m
                    WHERE m.session = i.session AND m.seq = i.seq AND m.turn = i.turn AND m.role = 'user') LIMIT 1000;

-- name: invariant_one_input_a_message
SELECT s.id AS session, i.seq AS seq, count(*) || ' inputs are message ' || i.seq AS what
  FROM inputs i NOT INDEXED JOIN sessions s ON s.key = i.session
 WHERE i.seq IS NOT NULL
 GROUP BY i.session, i.seq HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_request_waits_once
-- A turn that an input became has its request id too; one that waits has it alone.
SELECT s.id AS session, NULL AS seq, 'the request ' || r.request_id || ' was sent twice, and waits or was taken in' AS what
  FROM (SELECT session, request_id FROM inputs NOT INDEXED WHERE request_id IS NOT NULL
        UNION ALL
        SELECT i.session, i.request_id FROM inputs i JOIN turns t ON t.session = i.session AND t.request_id = i.request_id
         WHERE i.turn IS NULL OR i.turn <> t.number) r
  JOIN sessions s ON s.key = r.session
 GROUP BY r.session, r.request_id HAVING count(*) > 1 LIMIT 1000;

-- name: invariant_closed_has_no_inputs
SELECT s.id AS session, NULL AS seq, 'it is closed, and ' || count(*) || ' inputs wait' AS what
  FROM sessions s JOIN inputs i ON i.session = s.key AND i.turn IS NULL
 WHERE s.closed_at IS NOT NULL
 GROUP BY s.key LIMIT 1000;

-- name: invariant_quarantined_is_at_rest
SELECT s.id AS session, NULL AS seq, 'it is quarantined, and somebody owns it' AS what
  FROM sessions s
 WHERE s.quarantined_at IS NOT NULL AND s.owner IS NOT NULL LIMIT 1000;
