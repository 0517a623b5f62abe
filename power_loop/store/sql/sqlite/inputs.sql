-- name: insert_input
INSERT INTO inputs (session, mode, request_id, metadata, body, pinned, sender, arrived_at, crc)
VALUES (:session, :mode, :request_id, :metadata, :body, :pinned, :sender, :at, :crc);

-- name: input_by_number
SELECT * FROM inputs WHERE number = :number AND session = :session;

-- name: input_by_request
SELECT * FROM inputs WHERE session = :session AND request_id = :request_id;

-- name: first_waiting_input
SELECT * FROM inputs WHERE session = :session AND turn IS NULL ORDER BY number LIMIT 1;

-- name: waiting_inputs
SELECT * FROM inputs WHERE session = :session AND turn IS NULL ORDER BY number;

-- name: how_many_inputs_wait
SELECT count(*) AS inputs FROM inputs WHERE session = :session AND turn IS NULL;

-- name: list_inputs
SELECT * FROM inputs WHERE session = :session ORDER BY number;

-- name: take_input
-- Its text stands in the message from here on. No row changes if it was taken already.
UPDATE inputs SET turn = :turn, seq = :seq, taken_at = :at, body = NULL, crc = :crc
 WHERE number = :number AND turn IS NULL;

-- name: withdraw_input
DELETE FROM inputs WHERE number = :number AND session = :session AND turn IS NULL;

-- name: withdraw_inputs
DELETE FROM inputs WHERE session = :session AND turn IS NULL;

-- name: sessions_with_inputs
-- Where input waits, who sent it, and whether a turn could begin with it.
SELECT DISTINCT s.key, s.id, s.owner, i.mode, i.sender,
       s.quarantined_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.session = s.key AND c.result_seq IS NULL) AS ready
  FROM inputs i
  JOIN sessions s ON s.key = i.session
 WHERE i.turn IS NULL AND s.closed_at IS NULL AND s.archived_at IS NULL
 ORDER BY s.key;
