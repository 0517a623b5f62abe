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

-- name: fold_message
UPDATE messages SET state = 'compacted_out', folded_by = :compaction
 WHERE session = :session AND seq = :seq AND state = 'active';

-- name: insert_compaction
INSERT INTO compactions (session, number, turn, strategy, first_seq, last_seq, folded, note_seq, before_tokens,
                         after_tokens, model, at, crc)
VALUES (:session, :number, :turn, :strategy, :first_seq, :last_seq, :folded, :note_seq, :before_tokens,
        :after_tokens, :model, :at, :crc);

-- name: next_compaction
SELECT coalesce(max(number), 0) + 1 AS number FROM compactions WHERE session = :session;

-- name: list_compactions
SELECT * FROM compactions WHERE session = :session ORDER BY number;

-- name: insert_usage
INSERT INTO usage (session, number, turn, purpose, model, prompt_tokens, completion_tokens, cached_tokens,
                   reasoning_tokens, cost, milliseconds, at, crc)
VALUES (:session, :number, :turn, :purpose, :model, :prompt_tokens, :completion_tokens, :cached_tokens,
        :reasoning_tokens, :cost, :milliseconds, :at, :crc);

-- name: list_usage
SELECT * FROM usage WHERE session = :session ORDER BY number;

-- name: latest_usage
-- The latest count of the context and all rows after it (all there are, if there is none), and what a compaction left of
-- the context since. All, because a damaged row may only seem to be no count.
SELECT u.*,
       (SELECT c.after_tokens FROM compactions c
         WHERE c.session = u.session AND c.at > u.at AND c.undone_at IS NULL
         ORDER BY c.number DESC LIMIT 1) AS folded_to
  FROM usage u
 WHERE u.session = :session
   AND u.number >= coalesce((SELECT max(a.number) FROM usage a
                              WHERE a.session = :session AND a.purpose = 'answer' AND a.prompt_tokens IS NOT NULL), 0)
 ORDER BY u.number;
