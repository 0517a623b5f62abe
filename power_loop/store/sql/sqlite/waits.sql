-- name: await_approval
UPDATE calls SET state = 'awaiting_approval'
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND state = 'requested';

-- name: let_call_run
-- What an approval does; no row changes if the call does not wait for one any more.
UPDATE calls SET state = 'requested'
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND state = 'awaiting_approval';

-- name: insert_wait
INSERT INTO waits (session, seq, ordinal, kind, arguments, arguments_hash, reason, asked_at, expires_at, crc)
VALUES (:session, :seq, :ordinal, :kind, :arguments, :arguments_hash, :reason, :at, :expires_at, :crc);

-- name: count_wait
UPDATE sessions SET waits = waits + 1 WHERE key = :session;

-- name: how_many_wait
SELECT count(*) AS waits FROM waits WHERE session = :session;

-- name: count_rules
UPDATE sessions SET rules = (SELECT count(*) FROM rules WHERE session = :session) WHERE key = :session;

-- name: decide_wait
-- No row changes if somebody has decided already.
UPDATE waits
   SET decision = :decision, changed = :changed, said = :said, part = :part, failed = :failed, decided_by = :by, decided_at = :at,
       decision_crc = :crc
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND kind = :kind AND decision IS NULL;

-- name: waits_of_answer
-- What the calls of one answer wait for, or waited for.
SELECT * FROM waits WHERE session = :session AND seq = :seq ORDER BY ordinal, kind;

-- name: list_waits
SELECT * FROM waits WHERE session = :session ORDER BY seq, ordinal, kind;

-- name: sessions_that_wait
-- Where a call waits for somebody outside who has not decided yet.
SELECT DISTINCT s.id
  FROM waits w INDEXED BY waits_undecided
  JOIN calls c ON c.session = w.session AND c.seq = w.seq AND c.ordinal = w.ordinal AND c.result_seq IS NULL
  JOIN sessions s ON s.key = w.session
 WHERE w.decision IS NULL ORDER BY s.key;

-- name: sessions_with_waits
SELECT DISTINCT s.id FROM waits w JOIN sessions s ON s.key = w.session ORDER BY s.key;

-- name: remember
INSERT INTO rules (session, name, memory, turn, at, crc) VALUES (:session, :name, :memory, :turn, :at, :crc)
    ON CONFLICT (session, name) DO UPDATE SET memory = :memory, turn = :turn, at = :at, crc = :crc;

-- name: memories
SELECT * FROM rules WHERE session = :session ORDER BY name;

-- name: touch_session
UPDATE sessions SET updated_at = :at, events = events + :more_events WHERE key = :session;
