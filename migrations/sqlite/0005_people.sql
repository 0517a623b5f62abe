-- People and rules in the loop: what a call waits for, what happened in order, what rules remember.

PRAGMA user_version = 5;

-- How many events a session has, and which tools ask for an approval in it: JSON, a word a pattern of names.
-- And how many rows `waits` and `rules` have of it, so that none goes missing.
ALTER TABLE sessions ADD COLUMN waits INTEGER NOT NULL DEFAULT 0 CHECK (waits >= 0);
ALTER TABLE sessions ADD COLUMN rules INTEGER NOT NULL DEFAULT 0 CHECK (rules >= 0);
ALTER TABLE sessions ADD COLUMN events INTEGER NOT NULL DEFAULT 0 CHECK (events >= 0);
ALTER TABLE sessions ADD COLUMN approvals TEXT CHECK (approvals IS NULL OR json_valid(approvals));

-- What a call waits for from outside: a person's approval, or its result from the host. Bound to what is to run by its
-- hash. `part` is what the model is shown of a long result. The decision is a row's own; the call moves in the same commit, or, while a turn runs, with the next one.
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

CREATE INDEX waits_undecided ON waits (session, seq, ordinal) WHERE decision IS NULL;

-- The facts of one commit, in order: `number` is the first one's, and there are as many as `facts` says. What stands in
-- other rows (texts of messages, arguments of calls) is not here again.
CREATE TABLE events (
    session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number  INTEGER NOT NULL CHECK (number >= 1),
    facts   INTEGER NOT NULL CHECK (facts >= 1),
    body    TEXT    NOT NULL CHECK (json_valid(body)),
    at      INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

-- What a rule (a watcher, the steps) remembers of a session: a JSON value, written over in the commit it belongs to.
CREATE TABLE rules (
    session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    name    TEXT    NOT NULL CHECK (name <> ''),
    memory  TEXT    NOT NULL CHECK (json_valid(memory)),
    turn    INTEGER NOT NULL CHECK (turn >= 1),
    at      INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    PRIMARY KEY (session, name)
) STRICT, WITHOUT ROWID;

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
