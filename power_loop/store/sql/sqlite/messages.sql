-- name: insert_message
INSERT INTO messages (session, seq, turn, place, role, note_of, pinned, body, provider, created_at, crc)
VALUES (:session, :seq, :turn, :place, :role, :note_of, :pinned, :body, :provider, :at, :crc);

-- name: active_messages
-- What the model sees, in order.
SELECT seq, turn, place, role, state, folded_by, note_of, pinned, body, provider, created_at, crc
  FROM messages
 WHERE session = :session AND state = 'active'
 ORDER BY place;

-- name: all_messages
SELECT seq, turn, place, role, state, folded_by, note_of, pinned, body, provider, created_at, crc
  FROM messages
 WHERE session = :session
 ORDER BY place, seq;

-- name: message_by_seq
SELECT seq, turn, place, role, state, folded_by, note_of, pinned, body, provider, created_at, crc
  FROM messages
 WHERE session = :session AND seq = :seq;

-- name: insert_output
-- The whole text of a result of which its message shows a part.
INSERT INTO outputs (session, seq, characters, data, crc) VALUES (:session, :seq, :characters, :data, :crc);

-- name: output_by_seq
SELECT seq, characters, data, crc FROM outputs WHERE session = :session AND seq = :seq;

-- name: list_outputs
SELECT seq, characters, data, crc FROM outputs WHERE session = :session ORDER BY seq;

-- name: fold_message
UPDATE messages SET state = 'compacted_out', folded_by = :compaction
 WHERE session = :session AND seq = :seq AND state = 'active';

-- name: insert_compaction
INSERT INTO compactions (session, number, turn, strategy, first_seq, last_seq, folded, note_seq, notes, before_tokens,
                         after_tokens, model, usage_rows, at, crc)
VALUES (:session, :number, :turn, :strategy, :first_seq, :last_seq, :folded, :note_seq, :notes, :before_tokens,
        :after_tokens, :model, :usage_rows, :at, :crc);

-- name: last_compaction
-- The latest that stands.
SELECT * FROM compactions WHERE session = :session AND undone_at IS NULL ORDER BY number DESC LIMIT 1;

-- name: undo_compaction
UPDATE compactions SET undone_at = :at, undone_usage_rows = :usage_rows
 WHERE session = :session AND number = :number AND undone_at IS NULL;

-- name: put_notes_out
-- What stood for the folded messages is folded itself, by the compaction that it came with.
UPDATE messages SET state = 'compacted_out', folded_by = :number
 WHERE session = :session AND note_of = :number AND state = 'active' AND seq >= :note_seq;

-- name: restore_messages
UPDATE messages SET state = 'active', folded_by = NULL
 WHERE session = :session AND seq BETWEEN :first_seq AND :last_seq AND folded_by = :number AND note_of IS NOT :number;

-- name: next_compaction
SELECT coalesce(max(number), 0) + 1 AS number FROM compactions WHERE session = :session;

-- name: compaction_by_number
SELECT * FROM compactions WHERE session = :session AND number = :number;

-- name: list_compactions
SELECT * FROM compactions WHERE session = :session ORDER BY number;

-- name: last_message_of_turn
SELECT max(created_at) AS at FROM messages WHERE session = :session AND turn = :turn;

-- name: insert_usage
INSERT INTO usage (session, number, turn, purpose, model, prompt_tokens, completion_tokens, cached_tokens,
                   reasoning_tokens, cost, milliseconds, at, crc)
VALUES (:session, :number, :turn, :purpose, :model, :prompt_tokens, :completion_tokens, :cached_tokens,
        :reasoning_tokens, :cost, :milliseconds, :at, :crc);

-- name: list_usage
SELECT * FROM usage WHERE session = :session ORDER BY number;

-- name: usage_by_number
SELECT * FROM usage WHERE session = :session AND number = :number;

-- name: latest_usage
-- The latest count of the context and all rows after it (all there are, if there is none); what a compaction left of the
-- context since, up to which message; and by how much undoing earlier ones has grown it since. All rows, because a damaged
-- one may only seem to be no count. Compactions of old releases do not say what they came after: there the times do.
SELECT u.*,
       (SELECT c.after_tokens FROM compactions c
         WHERE c.session = u.session AND coalesce(c.usage_rows >= u.number, c.at > u.at) AND c.undone_at IS NULL
         ORDER BY c.number DESC LIMIT 1) AS folded_to,
       (SELECT c.note_seq + c.notes - 1 FROM compactions c
         WHERE c.session = u.session AND coalesce(c.usage_rows >= u.number, c.at > u.at) AND c.undone_at IS NULL
         ORDER BY c.number DESC LIMIT 1) AS folded_up_to,
       (SELECT sum(c.before_tokens - c.after_tokens) FROM compactions c
         WHERE c.session = u.session AND c.undone_usage_rows >= u.number
           AND NOT coalesce(c.usage_rows >= u.number, c.at > u.at)) AS restored,
       EXISTS (SELECT 1 FROM compactions c
                WHERE c.session = u.session AND (coalesce(c.usage_rows >= u.number, c.at > u.at)
                                                 OR c.undone_usage_rows >= u.number)) AS folded_since
  FROM usage u
 WHERE u.session = :session
   AND u.number >= coalesce((SELECT max(a.number) FROM usage a
                              WHERE a.session = :session AND a.purpose = 'answer' AND a.prompt_tokens IS NOT NULL), 0)
 ORDER BY u.number;
