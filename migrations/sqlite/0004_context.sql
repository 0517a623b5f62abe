-- Compactions that can be undone, counted when they fail and told apart; large results; pinned inputs; how full a
-- context is.

PRAGMA user_version = 4;

-- Of a request that the endpoint refused as too long: what it counted. Nothing was paid for it.
CREATE TABLE usage_with_overflow (
    session           INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number            INTEGER NOT NULL CHECK (number >= 1),
    turn              INTEGER NOT NULL CHECK (turn >= 0),
    purpose           TEXT    NOT NULL CHECK (purpose IN ('answer', 'dropped', 'summary', 'overflow')),
    model             TEXT    NOT NULL,
    prompt_tokens     INTEGER CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER CHECK (completion_tokens >= 0),
    cached_tokens     INTEGER CHECK (cached_tokens >= 0),
    reasoning_tokens  INTEGER CHECK (reasoning_tokens >= 0),
    cost              REAL    CHECK (cost >= 0),
    milliseconds      INTEGER NOT NULL CHECK (milliseconds >= 0),
    at                INTEGER NOT NULL,
    crc               INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_with_overflow SELECT * FROM usage;
DROP VIEW v_usage;
DROP VIEW v_sessions;
DROP VIEW v_timeline;
DROP TABLE usage;
ALTER TABLE usage_with_overflow RENAME TO usage;

-- `notes`: how many messages stand in the place of the folded ones, from `note_seq` on: one note, or a short result each.
-- `usage_rows`, `undone_usage_rows`: the model calls the session counted by then, so that no clock decides what came first.
ALTER TABLE compactions ADD COLUMN notes INTEGER NOT NULL DEFAULT 1 CHECK (notes >= 1);
ALTER TABLE compactions ADD COLUMN usage_rows INTEGER CHECK (usage_rows >= 0);
ALTER TABLE compactions ADD COLUMN undone_usage_rows INTEGER
    CHECK (undone_usage_rows IS NULL OR undone_at IS NOT NULL);

-- Compactions that failed since the last that did not, and how full the window was when somebody last counted.
ALTER TABLE sessions ADD COLUMN failed_compactions INTEGER NOT NULL DEFAULT 0 CHECK (failed_compactions >= 0);
ALTER TABLE sessions ADD COLUMN context_tokens INTEGER CHECK (context_tokens >= 0);
ALTER TABLE sessions ADD COLUMN context_window INTEGER CHECK (context_window >= 1);

ALTER TABLE inputs ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1));

-- The whole text of a result of which the model is shown a part: zlib over UTF-8.
CREATE TABLE outputs (
    session    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    characters INTEGER NOT NULL CHECK (characters >= 1),
    data       BLOB    NOT NULL,
    crc        INTEGER NOT NULL,
    PRIMARY KEY (session, seq),
    FOREIGN KEY (session, seq) REFERENCES messages (session, seq) ON DELETE CASCADE
) STRICT;

-- Rows of requests that were refused as too long (`overflow`) cost nothing: leave them out of sums.
CREATE VIEW v_usage AS
SELECT s.id                                                        AS session_id,
       u.number                                                    AS number,
       u.turn                                                      AS turn,
       u.purpose                                                   AS purpose,
       u.model                                                     AS model,
       u.prompt_tokens                                             AS prompt_tokens,
       u.completion_tokens                                         AS completion_tokens,
       u.cached_tokens                                             AS cached_tokens,
       u.reasoning_tokens                                          AS reasoning_tokens,
       u.cost                                                      AS cost,
       u.milliseconds                                              AS milliseconds,
       strftime('%Y-%m-%dT%H:%M:%SZ', u.at / 1000000, 'unixepoch') AS at
  FROM usage u
  JOIN sessions s ON s.key = u.session;

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
       s.quarantined_at IS NOT NULL                                               AS quarantined,
       s.context_tokens                                                           AS context_tokens,
       s.context_window                                                           AS context_window,
       s.failed_compactions                                                       AS failed_compactions
  FROM sessions s
  LEFT JOIN turns t ON t.session = s.key AND t.number = s.next_turn - 1;

CREATE VIEW v_compactions AS
SELECT s.id                                                               AS session_id,
       c.number                                                           AS number,
       c.turn                                                             AS turn,
       c.strategy                                                         AS strategy,
       c.first_seq                                                        AS first_seq,
       c.last_seq                                                         AS last_seq,
       c.folded                                                           AS folded,
       c.notes                                                            AS notes,
       c.note_seq                                                         AS note_seq,
       c.before_tokens                                                    AS before_tokens,
       c.after_tokens                                                     AS after_tokens,
       c.model                                                            AS model,
       strftime('%Y-%m-%dT%H:%M:%SZ', c.at / 1000000, 'unixepoch')        AS at,
       strftime('%Y-%m-%dT%H:%M:%SZ', c.undone_at / 1000000, 'unixepoch') AS undone_at
  FROM compactions c
  JOIN sessions s ON s.key = c.session;

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
        SELECT session, undone_at, turn, 'compaction undone', strategy || ', ' || folded || ' messages' FROM compactions
         WHERE undone_at IS NOT NULL
        UNION ALL
        SELECT session, arrived_at, turn, 'input arrived', mode || iif(turn IS NULL, ', waiting', '') FROM inputs
        UNION ALL
        SELECT key, quarantined_at, NULL, 'quarantined', recoveries || ' recoveries without progress' FROM sessions
         WHERE quarantined_at IS NOT NULL) e
  JOIN sessions s ON s.key = e.session
 ORDER BY s.key, e.at;
