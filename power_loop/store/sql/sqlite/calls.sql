-- name: insert_call
-- Requested; or, where its start is part of the same commit, started.
INSERT INTO calls (session, seq, ordinal, turn, id, name, arguments, arguments_hash, schema_hash, effect, state, attempt,
                   epoch, requested_at, started_at, crc)
VALUES (:session, :seq, :ordinal, :turn, :id, :name, :arguments, :arguments_hash, :schema_hash, :effect,
        iif(:started, 'started', 'requested'), :started, :epoch, :at, iif(:started, :at, NULL), :crc);

-- name: start_call
-- Claim a requested call, or a call in doubt once more. No row changes if it is settled already.
UPDATE calls SET state = 'started', started_at = :at, attempt = attempt + 1, epoch = :epoch, decision = NULL
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND state IN ('requested', 'started');

-- name: settle_call
UPDATE calls SET state = :state, settled_by = :settled_by, settled_at = :at, result_seq = :result_seq
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND state = :from_state;

-- name: decide_call
UPDATE calls SET decision = :decision
 WHERE session = :session AND seq = :seq AND ordinal = :ordinal AND state = 'started';

-- name: call_state
SELECT state FROM calls WHERE session = :session AND seq = :seq AND ordinal = :ordinal;

-- name: open_calls
-- Left alone, SQLite would rather walk all calls of the session in the order of their key.
SELECT * FROM calls INDEXED BY open_calls WHERE session = :session AND result_seq IS NULL ORDER BY seq, ordinal;

-- name: results_awaited
-- How many results the newest answer still waits for, by the numbers that are kept for them.
SELECT :next_seq - 1 - a.seq
       - (SELECT count(*) FROM messages m WHERE m.session = :session AND m.seq > a.seq) AS awaited
  FROM (SELECT seq FROM messages WHERE session = :session AND role = 'assistant' ORDER BY seq DESC LIMIT 1) a;

-- name: calls_of_answer
SELECT * FROM calls WHERE session = :session AND seq = :seq ORDER BY ordinal;

-- name: list_calls
SELECT * FROM calls WHERE session = :session ORDER BY seq, ordinal;

-- name: call_by_id
-- The latest call of this id: providers use ids again.
SELECT * FROM calls WHERE session = :session AND id = :id ORDER BY seq DESC, ordinal DESC LIMIT 1;
