-- name: insert_turn
INSERT INTO turns (session, number, origin, request_id, metadata, state, epoch, owner, started_at, crc)
VALUES (:session, :number, :origin, :request_id, :metadata, :state, :epoch, :owner, :at, :crc);

-- name: last_turn
SELECT * FROM turns WHERE session = :session ORDER BY number DESC LIMIT 1;

-- name: turn_by_number
SELECT * FROM turns WHERE session = :session AND number = :number;

-- name: turn_by_request
SELECT * FROM turns WHERE session = :session AND request_id = :request_id;

-- name: last_turn_of_origin
SELECT * FROM turns WHERE session = :session AND number >= :origin AND origin = :origin ORDER BY number DESC LIMIT 1;

-- name: rounds_of_origin
-- Rounds count on over the turns that go on from one another; a restart resets nothing.
SELECT coalesce(sum(rounds), 0) AS rounds, coalesce(sum(tool_calls), 0) AS tool_calls
  FROM turns WHERE session = :session AND number >= :origin AND origin = :origin;

-- name: calls_asked
SELECT coalesce(sum(tool_calls), 0) AS calls FROM turns WHERE session = :session;

-- name: last_answer
SELECT answer_seq FROM turns WHERE session = :session AND answer_seq IS NOT NULL ORDER BY number DESC LIMIT 1;

-- name: list_turns
SELECT * FROM turns WHERE session = :session ORDER BY number;

-- name: move_turn
-- No row changes unless the turn is where we believe it is.
UPDATE turns SET state = :state, rounds = rounds + :rounds, tool_calls = tool_calls + :tool_calls
 WHERE session = :session AND number = :turn AND state = :from_state;

-- name: close_round
-- No row changes while a call is open.
UPDATE turns SET state = :state
 WHERE session = :session AND number = :turn AND state = :from_state
   AND NOT EXISTS (SELECT 1 FROM calls INDEXED BY open_calls WHERE session = :session AND result_seq IS NULL);

-- name: end_turn
UPDATE turns
   SET state = :state, status = :status, stop_reason = :stop_reason, error_code = :error_code, error = :error,
       answer_seq = :answer_seq, rounds = rounds + :rounds, ended_at = :at, end_crc = :end_crc
 WHERE session = :session AND number = :turn AND state = :from_state;

-- name: give_up_turn
-- The open calls of an ended turn were aborted: nothing of it waits any more.
UPDATE turns
   SET state = :state, status = 'cancelled', stop_reason = :stop_reason, error_code = NULL, error = NULL,
       end_crc = :end_crc
 WHERE session = :session AND number = :turn AND state = :from_state AND ended_at IS NOT NULL;
