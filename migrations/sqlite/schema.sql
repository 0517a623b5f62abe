-- The whole schema as all migrations leave it: for reading, and to try things out.
-- Databases are made and upgraded by the numbered migrations alone. Generated; after a new migration write it again:
--     python -m tests.store.schema_text
-- tests/store/test_schema.py holds it equal to what the migrations give.

PRAGMA application_id = 1347178320;
PRAGMA user_version = 5;

CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    key               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT    NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 200),
    parent            INTEGER REFERENCES sessions (key) ON DELETE CASCADE,
    model             TEXT,
    metadata          TEXT    CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    epoch             INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    owner             TEXT,
    owner_since       INTEGER,
    next_seq          INTEGER NOT NULL DEFAULT 1 CHECK (next_seq >= 1),
    next_turn         INTEGER NOT NULL DEFAULT 1 CHECK (next_turn >= 1),
    active            INTEGER NOT NULL DEFAULT 0 CHECK (active >= 0),
    usage_rows        INTEGER NOT NULL DEFAULT 0 CHECK (usage_rows >= 0),
    stop_requested_at INTEGER,
    stop_reason       TEXT,
    stop_crc          INTEGER,
    archived_at       INTEGER,
    closed_at         INTEGER,
    crc               INTEGER NOT NULL, recoveries INTEGER NOT NULL DEFAULT 0 CHECK (recoveries >= 0), quarantined_at INTEGER, failed_compactions INTEGER NOT NULL DEFAULT 0 CHECK (failed_compactions >= 0), context_tokens INTEGER CHECK (context_tokens >= 0), context_window INTEGER CHECK (context_window >= 1), waits INTEGER NOT NULL DEFAULT 0 CHECK (waits >= 0), rules INTEGER NOT NULL DEFAULT 0 CHECK (rules >= 0), events INTEGER NOT NULL DEFAULT 0 CHECK (events >= 0), approvals TEXT CHECK (approvals IS NULL OR json_valid(approvals)),
    CHECK ((owner IS NULL) = (owner_since IS NULL)),
    CHECK ((stop_requested_at IS NULL) = (stop_reason IS NULL)),
    CHECK ((stop_requested_at IS NULL) = (stop_crc IS NULL))
) STRICT;

CREATE TABLE turns (
    session     INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number      INTEGER NOT NULL CHECK (number >= 1),
    origin      INTEGER NOT NULL CHECK (origin BETWEEN 1 AND number),
    request_id  TEXT,
    metadata    TEXT    CHECK (metadata IS NULL OR json_valid(metadata)),
    state       TEXT    NOT NULL CHECK (state IN
                    ('asking', 'acting', 'waiting', 'done', 'failed', 'cancelled', 'interrupted')),
    status      TEXT    CHECK (status IN
                    ('completed', 'hit_round_limit', 'cancelled', 'pending_tools', 'awaiting_approval',
                     'waiting_for_input', 'budget_exceeded', 'stopped', 'failed', 'interrupted')),
    stop_reason TEXT,
    error_code  TEXT,
    error       TEXT,
    epoch       INTEGER NOT NULL CHECK (epoch >= 1),
    owner       TEXT    NOT NULL,
    rounds      INTEGER NOT NULL DEFAULT 0 CHECK (rounds >= 0),
    tool_calls  INTEGER NOT NULL DEFAULT 0 CHECK (tool_calls >= 0),
    answer_seq  INTEGER,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    crc         INTEGER NOT NULL,
    end_crc     INTEGER,
    PRIMARY KEY (session, number),
    -- Only an input can carry a request id; a turn that goes on names the turn of its input.
    CHECK (request_id IS NULL OR origin = number),
    -- A live turn has no end, an ended one says how.
    CHECK ((state IN ('asking', 'acting')) = (ended_at IS NULL)),
    CHECK ((ended_at IS NULL) = (status IS NULL)),
    CHECK ((ended_at IS NULL) = (end_crc IS NULL)),
    CHECK ((state = 'done') = (answer_seq IS NOT NULL)),
    CHECK ((state = 'failed') = (error_code IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    session    INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    seq        INTEGER NOT NULL CHECK (seq >= 1),
    turn       INTEGER NOT NULL CHECK (turn >= 0),
    place      INTEGER NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    state      TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'compacted_out')),
    folded_by  INTEGER,
    note_of    INTEGER,
    pinned     INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    body       TEXT    NOT NULL CHECK (json_valid(body)),
    provider   TEXT    CHECK (provider IS NULL OR json_valid(provider)),
    created_at INTEGER NOT NULL,
    crc        INTEGER NOT NULL,
    PRIMARY KEY (session, seq),
    CHECK ((state = 'compacted_out') = (folded_by IS NOT NULL)),
    -- Only a compaction's note stands elsewhere than where it was written.
    CHECK (note_of IS NOT NULL OR place = seq)
) STRICT;

CREATE TABLE calls (
    session        INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    ordinal        INTEGER NOT NULL CHECK (ordinal >= 0),
    turn           INTEGER NOT NULL CHECK (turn >= 1),
    id             TEXT    NOT NULL CHECK (id <> ''),
    name           TEXT    NOT NULL,
    arguments      TEXT    NOT NULL,
    arguments_hash TEXT    NOT NULL,
    schema_hash    TEXT,
    effect         TEXT    NOT NULL CHECK (effect IN ('read', 'idempotent', 'once')),
    state          TEXT    NOT NULL CHECK (state IN
                       ('requested', 'awaiting_approval', 'started', 'succeeded', 'failed', 'timed_out', 'denied',
                        'reported', 'aborted')),
    settled_by     TEXT    CHECK (settled_by IN ('run', 'gate', 'reconcile', 'report', 'person', 'abort')),
    decision       TEXT    CHECK (decision IN ('retry', 'report')),
    attempt        INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    epoch          INTEGER NOT NULL CHECK (epoch >= 1),
    requested_at   INTEGER NOT NULL,
    started_at     INTEGER,
    settled_at     INTEGER,
    result_seq     INTEGER,
    crc            INTEGER NOT NULL,
    PRIMARY KEY (session, seq, ordinal),
    FOREIGN KEY (session, seq) REFERENCES messages (session, seq) ON DELETE CASCADE,
    FOREIGN KEY (session, result_seq) REFERENCES messages (session, seq),
    UNIQUE (session, seq, id),
    -- A settled call has its result, its time and whose word it is; an open one has none of them.
    CHECK ((state IN ('requested', 'awaiting_approval', 'started')) = (result_seq IS NULL)),
    CHECK ((result_seq IS NULL) = (settled_at IS NULL)),
    CHECK ((result_seq IS NULL) = (settled_by IS NULL)),
    -- Nothing has started without a time and an attempt; what was never started never ran.
    CHECK ((attempt = 0) = (started_at IS NULL)),
    CHECK (state NOT IN ('started', 'succeeded', 'timed_out', 'reported') OR attempt > 0),
    CHECK (state <> 'requested' OR attempt = 0),
    CHECK (decision IS NULL OR attempt > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE compactions (
    session       INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number        INTEGER NOT NULL CHECK (number >= 1),
    turn          INTEGER NOT NULL CHECK (turn >= 0),
    strategy      TEXT    NOT NULL,
    first_seq     INTEGER NOT NULL,
    last_seq      INTEGER NOT NULL,
    folded        INTEGER NOT NULL CHECK (folded >= 1),
    note_seq      INTEGER NOT NULL,
    before_tokens INTEGER NOT NULL CHECK (before_tokens >= 0),
    after_tokens  INTEGER NOT NULL CHECK (after_tokens >= 0),
    model         TEXT,
    at            INTEGER NOT NULL,
    undone_at     INTEGER,
    crc           INTEGER NOT NULL, notes INTEGER NOT NULL DEFAULT 1 CHECK (notes >= 1), usage_rows INTEGER CHECK (usage_rows >= 0), undone_usage_rows INTEGER
    CHECK (undone_usage_rows IS NULL OR undone_at IS NOT NULL),
    PRIMARY KEY (session, number),
    FOREIGN KEY (session, note_seq) REFERENCES messages (session, seq)
) STRICT, WITHOUT ROWID;

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
    crc        INTEGER NOT NULL, pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    FOREIGN KEY (session, turn) REFERENCES turns (session, number),
    FOREIGN KEY (session, seq) REFERENCES messages (session, seq),
    -- What waits has its text and no message, what was taken in has its message.
    CHECK ((turn IS NULL) = (body IS NOT NULL)),
    CHECK ((turn IS NULL) = (seq IS NULL)),
    CHECK ((turn IS NULL) = (taken_at IS NULL))
) STRICT;

CREATE TABLE "usage" (
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

CREATE TABLE outputs (
    session    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    characters INTEGER NOT NULL CHECK (characters >= 1),
    data       BLOB    NOT NULL,
    crc        INTEGER NOT NULL,
    PRIMARY KEY (session, seq),
    FOREIGN KEY (session, seq) REFERENCES messages (session, seq) ON DELETE CASCADE
) STRICT;

CREATE TABLE waits (
    session        INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    ordinal        INTEGER NOT NULL,
    kind           TEXT    NOT NULL CHECK (kind IN ('approval', 'result')),
    arguments      TEXT    NOT NULL,
    arguments_hash TEXT    NOT NULL,
    reason         TEXT,
    asked_at       INTEGER NOT NULL,
    expires_at     INTEGER,
    decision       TEXT    CHECK (decision IN ('approved', 'denied', 'expired', 'answered')),
    changed        TEXT,
    said           TEXT,
    part           TEXT,
    failed         INTEGER NOT NULL DEFAULT 0 CHECK (failed IN (0, 1)),
    decided_by     TEXT,
    decided_at     INTEGER,
    crc            INTEGER NOT NULL,
    decision_crc   INTEGER,
    PRIMARY KEY (session, seq, ordinal, kind),
    FOREIGN KEY (session, seq, ordinal) REFERENCES calls (session, seq, ordinal) ON DELETE CASCADE,
    -- What is decided says when, and is sealed; what is not has nobody's word.
    CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CHECK ((decision IS NULL) = (decision_crc IS NULL)),
    CHECK (decision IS NOT NULL OR (changed IS NULL AND said IS NULL AND part IS NULL AND decided_by IS NULL AND failed = 0)),
    -- Only a result is answered, and it is the answer; only an approval may change what runs.
    CHECK ((kind = 'result') = (decision = 'answered')),
    CHECK (decision <> 'answered' OR said IS NOT NULL),
    CHECK (changed IS NULL OR decision = 'approved'),
    CHECK (failed = 0 OR decision = 'answered'),
    CHECK (part IS NULL OR decision = 'answered')
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number  INTEGER NOT NULL CHECK (number >= 1),
    facts   INTEGER NOT NULL CHECK (facts >= 1),
    body    TEXT    NOT NULL CHECK (json_valid(body)),
    at      INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE rules (
    session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    name    TEXT    NOT NULL CHECK (name <> ''),
    memory  TEXT    NOT NULL CHECK (json_valid(memory)),
    turn    INTEGER NOT NULL CHECK (turn >= 1),
    at      INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    PRIMARY KEY (session, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_update ON sessions (updated_at);

CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;

CREATE INDEX sessions_owned ON sessions (key) WHERE owner IS NOT NULL;

CREATE INDEX sessions_to_stop ON sessions (key) WHERE stop_requested_at IS NOT NULL;

CREATE UNIQUE INDEX one_live_turn ON turns (session) WHERE ended_at IS NULL;

CREATE UNIQUE INDEX one_input_a_request ON turns (session, request_id) WHERE request_id IS NOT NULL;

CREATE UNIQUE INDEX active_messages ON messages (session, place) WHERE state = 'active';

CREATE INDEX open_calls ON calls (session, seq, ordinal) WHERE result_seq IS NULL;

CREATE UNIQUE INDEX one_result_a_call ON calls (session, result_seq) WHERE result_seq IS NOT NULL;

CREATE INDEX inputs_waiting ON inputs (session, number) WHERE turn IS NULL;

CREATE UNIQUE INDEX one_waiting_input_a_request ON inputs (session, request_id) WHERE request_id IS NOT NULL;

CREATE UNIQUE INDEX one_input_a_message ON inputs (session, seq) WHERE seq IS NOT NULL;

CREATE INDEX inputs_by_turn ON inputs (session, turn);

CREATE INDEX waits_undecided ON waits (session, seq, ordinal) WHERE decision IS NULL;

CREATE VIEW v_pending_calls AS
SELECT s.id                                                                AS session_id,
       c.turn                                                              AS turn,
       c.id                                                                AS call_id,
       c.name                                                              AS name,
       c.arguments                                                         AS arguments,
       c.state                                                             AS state,
       c.effect                                                            AS effect,
       c.attempt                                                           AS attempt,
       strftime('%Y-%m-%dT%H:%M:%SZ', coalesce(c.started_at, c.requested_at) / 1000000, 'unixepoch') AS since,
       printf('%s@%x/%d.%d', s.id, s.created_at, c.seq, c.ordinal)         AS idempotency_key
  FROM calls c
  JOIN sessions s ON s.key = c.session
 WHERE c.result_seq IS NULL;

CREATE VIEW v_turns AS
SELECT s.id                                                                AS session_id,
       t.number                                                            AS turn,
       t.origin                                                            AS origin,
       t.request_id                                                        AS request_id,
       t.state                                                             AS state,
       t.status                                                            AS status,
       t.stop_reason                                                       AS stop_reason,
       t.error_code                                                        AS error_code,
       t.error                                                             AS error,
       t.rounds                                                            AS rounds,
       t.tool_calls                                                        AS tool_calls,
       t.epoch                                                             AS epoch,
       t.owner                                                             AS owner,
       strftime('%Y-%m-%dT%H:%M:%SZ', t.started_at / 1000000, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', t.ended_at / 1000000, 'unixepoch')   AS ended_at
  FROM turns t
  JOIN sessions s ON s.key = t.session;

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

CREATE VIEW v_approvals AS
SELECT s.id                                                                AS session_id,
       c.id                                                                AS call_id,
       c.name                                                              AS name,
       w.kind                                                              AS kind,
       w.arguments                                                         AS arguments,
       w.arguments_hash                                                    AS arguments_hash,
       w.reason                                                            AS reason,
       coalesce(w.decision, 'waiting')                                     AS decision,
       w.changed                                                           AS changed_arguments,
       w.said                                                              AS said,
       w.decided_by                                                        AS decided_by,
       c.state                                                             AS call_state,
       strftime('%Y-%m-%dT%H:%M:%SZ', w.asked_at / 1000000, 'unixepoch')   AS asked_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', w.expires_at / 1000000, 'unixepoch') AS expires_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', w.decided_at / 1000000, 'unixepoch') AS decided_at
  FROM waits w
  JOIN calls c ON c.session = w.session AND c.seq = w.seq AND c.ordinal = w.ordinal
  JOIN sessions s ON s.key = w.session;

CREATE VIEW v_events AS
SELECT s.id                                                        AS session_id,
       e.number + f.key                                            AS number,
       f.value ->> '$.turn'                                        AS turn,
       f.value ->> '$.fact'                                        AS fact,
       f.value                                                     AS body,
       strftime('%Y-%m-%dT%H:%M:%SZ', e.at / 1000000, 'unixepoch') AS at
  FROM events e
  JOIN sessions s ON s.key = e.session, json_each(e.body) f;

CREATE VIEW v_rules AS
SELECT s.id AS session_id, r.name AS name, r.memory AS memory, r.turn AS turn,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.at / 1000000, 'unixepoch') AS at
  FROM rules r
  JOIN sessions s ON s.key = r.session;
