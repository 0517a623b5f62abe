-- The inbox: input that came while a turn ran. And recoveries, counted before they are made.

PRAGMA user_version = 2;

-- How often the session was taken up again without progress since, and when that was given up.
ALTER TABLE sessions ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0 CHECK (recoveries >= 0);
ALTER TABLE sessions ADD COLUMN quarantined_at INTEGER;

-- `number` is the order of arrival. A row waits until a turn takes it in; its text then stands in that turn's message.
CREATE TABLE inputs (
    session    INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    mode       TEXT    NOT NULL CHECK (mode IN ('steer', 'wait')),
    request_id TEXT,
    metadata   TEXT    CHECK (metadata IS NULL OR json_valid(metadata)),
    body       TEXT    CHECK (body IS NULL OR json_valid(body)),
    sender     TEXT    NOT NULL,
    arrived_at INTEGER NOT NULL,
    turn       INTEGER,
    seq        INTEGER,
    taken_at   INTEGER,
    crc        INTEGER NOT NULL,
    FOREIGN KEY (session, turn) REFERENCES turns (session, number),
    FOREIGN KEY (session, seq) REFERENCES messages (session, seq),
    -- What waits has its text and no message, what was taken in has its message.
    CHECK ((turn IS NULL) = (body IS NOT NULL)),
    CHECK ((turn IS NULL) = (seq IS NULL)),
    CHECK ((turn IS NULL) = (taken_at IS NULL))
) STRICT;

CREATE INDEX inputs_waiting ON inputs (session, number) WHERE turn IS NULL;
CREATE UNIQUE INDEX one_waiting_input_a_request ON inputs (session, request_id) WHERE request_id IS NOT NULL;
CREATE UNIQUE INDEX one_input_a_message ON inputs (session, seq) WHERE seq IS NOT NULL;

CREATE VIEW v_inputs AS
SELECT s.id                                                                AS session_id,
       i.number                                                            AS number,
       i.mode                                                              AS mode,
       i.request_id                                                        AS request_id,
       iif(i.turn IS NULL, 'waiting', 'taken')                             AS state,
       i.turn                                                              AS turn,
       i.seq                                                               AS seq,
       i.body                                                              AS body,
       i.sender                                                            AS sender,
       strftime('%Y-%m-%dT%H:%M:%SZ', i.arrived_at / 1000000, 'unixepoch') AS arrived_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', i.taken_at / 1000000, 'unixepoch')   AS taken_at
  FROM inputs i
  JOIN sessions s ON s.key = i.session;

DROP VIEW v_sessions;
CREATE VIEW v_sessions AS
SELECT s.id                                                                       AS session_id,
       t.state                                                                    AS turn_state,
       t.status                                                                   AS last_status,
       s.owner                                                                    AS owner,
       (SELECT count(*) FROM calls c WHERE c.session = s.key AND c.result_seq IS NULL) AS open_calls,
       s.next_seq - 1                                                             AS messages,
       s.active                                                                   AS active_messages,
       s.next_turn - 1                                                            AS turns,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.created_at / 1000000, 'unixepoch')        AS created_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', s.updated_at / 1000000, 'unixepoch')        AS updated_at,
       s.archived_at IS NOT NULL                                                  AS archived,
       s.closed_at IS NOT NULL                                                    AS closed,
       s.metadata                                                                 AS metadata,
       (SELECT count(*) FROM inputs i WHERE i.session = s.key AND i.turn IS NULL) AS waiting_inputs,
       s.recoveries                                                               AS recoveries,
       s.quarantined_at IS NOT NULL                                               AS quarantined
  FROM sessions s
  LEFT JOIN turns t ON t.session = s.key AND t.number = s.next_turn - 1;

DROP VIEW v_timeline;
CREATE VIEW v_timeline AS
SELECT s.id AS session_id, e.at AS at_micros,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.at / 1000000.0, 'unixepoch') AS at,
       e.turn AS turn, e.what AS what, e.detail AS detail
  FROM (SELECT session, started_at AS at, turns.number AS turn, 'turn began' AS what,
               iif(origin = turns.number, 'input', 'goes on from turn ' || origin) AS detail FROM turns
        UNION ALL
        SELECT session, ended_at, turns.number, 'turn ended',
               status || iif(stop_reason IS NULL, '', ': ' || stop_reason) FROM turns WHERE ended_at IS NOT NULL
        UNION ALL
        SELECT session, created_at, turn, role || ' message', 'seq ' || seq || ', ' || state FROM messages
        UNION ALL
        SELECT session, started_at, turn, 'call started', name || ' ' || id || ', attempt ' || attempt
          FROM calls WHERE started_at IS NOT NULL
        UNION ALL
        SELECT session, settled_at, turn, 'call ' || state, name || ' ' || id FROM calls WHERE settled_at IS NOT NULL
        UNION ALL
        SELECT session, at, turn, 'history compacted', strategy || ', ' || folded || ' messages' FROM compactions
        UNION ALL
        SELECT session, arrived_at, turn, 'input arrived', mode || iif(turn IS NULL, ', waiting', '') FROM inputs
        UNION ALL
        SELECT key, quarantined_at, NULL, 'quarantined', recoveries || ' recoveries without progress' FROM sessions
         WHERE quarantined_at IS NOT NULL) e
  JOIN sessions s ON s.key = e.session
 ORDER BY s.key, e.at;
