-- name: insert_event
INSERT INTO events (session, number, facts, body, at, crc) VALUES (:session, :number, :facts, :body, :at, :crc);

-- name: events_after
-- From the row on that holds the first fact behind the cursor.
SELECT number, facts, body, at, crc FROM events
 WHERE session = :session
   AND number >= coalesce((SELECT max(b.number) FROM events b WHERE b.session = :session AND b.number <= :after + 1), 1)
 ORDER BY number LIMIT :limit;

-- name: list_events
SELECT number, facts, body, at, crc FROM events WHERE session = :session ORDER BY number;
