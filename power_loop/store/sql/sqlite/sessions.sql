-- name: insert_session
INSERT INTO sessions (key, id, parent, model, metadata, approvals, created_at, updated_at, next_seq, active, crc)
VALUES (:key, :id, :parent, :model, :metadata, :approvals, :at, :at, 1 + :messages, :messages, :crc);

-- name: next_session_key
-- Never one that was used before: what a session that is gone has left behind must not fit a new one.
SELECT coalesce(max(seq), 0) + 1 AS key FROM sqlite_sequence WHERE name = 'sessions';

-- name: session_by_id
SELECT key, id, parent, model, metadata, created_at, crc, updated_at, epoch, owner, owner_since, next_seq, next_turn,
       active, usage_rows, stop_requested_at, archived_at, closed_at, recoveries, quarantined_at,
       context_tokens, context_window, failed_compactions, events, approvals, waits, rules
  FROM sessions WHERE id = :id;

-- name: what_stands_in_the_way
-- Of a new turn: calls that are open, by their rows and by the results that are awaited; a live turn; inputs that wait.
-- And the last turn, that none went missing.
SELECT (SELECT count(*) FROM calls INDEXED BY open_calls WHERE session = :session AND result_seq IS NULL) AS open_calls,
       (SELECT :next_seq - 1 - a.seq
               - (SELECT count(*) FROM messages m WHERE m.session = :session AND m.seq > a.seq)
          FROM (SELECT seq FROM messages
                 WHERE session = :session AND role = 'assistant' ORDER BY seq DESC LIMIT 1) a) AS awaited,
       (SELECT max(number) FROM turns WHERE session = :session) AS last_turn,
       (SELECT answer_seq FROM turns WHERE session = :session AND answer_seq IS NOT NULL
         ORDER BY number DESC LIMIT 1) AS answered,
       EXISTS (SELECT 1 FROM turns WHERE session = :session AND ended_at IS NULL) AS live,
       EXISTS (SELECT 1 FROM inputs WHERE session = :session AND turn IS NULL) AS inputs;

-- name: session_by_key
SELECT key, id, parent, model, metadata, created_at, crc, updated_at, epoch, owner, owner_since, next_seq, next_turn,
       active, usage_rows, stop_requested_at, archived_at, closed_at, recoveries, quarantined_at,
       context_tokens, context_window, failed_compactions, events, approvals, waits, rules
  FROM sessions WHERE key = :key;

-- name: session_ids_by_prefix
-- Ids that begin so, at most three: enough to tell one from many.
SELECT id FROM sessions
 WHERE id >= :prefix AND id < :prefix || char(1114111) AND substr(id, 1, length(:prefix)) = :prefix
 ORDER BY id LIMIT 3;

-- name: list_sessions
SELECT s.key FROM sessions s
 WHERE s.archived_at IS NULL OR :archived
 ORDER BY s.updated_at DESC, s.key DESC
 LIMIT :limit;

-- name: list_sessions_before
-- The page behind a session: the index leads there, and not past all that are newer.
SELECT s.key FROM sessions s
 WHERE (s.archived_at IS NULL OR :archived)
   AND s.updated_at <= :before
   AND (s.updated_at, s.key) < (:before, (SELECT b.key FROM sessions b WHERE b.id = :before_id))
 ORDER BY s.updated_at DESC, s.key DESC
 LIMIT :limit;

-- name: list_children
SELECT s.key FROM sessions s
 WHERE s.parent = (SELECT p.key FROM sessions p WHERE p.id = :parent)
   AND (s.archived_at IS NULL OR :archived)
   AND (:before IS NULL OR (s.updated_at, s.key) < (:before, (SELECT b.key FROM sessions b WHERE b.id = :before_id)))
 ORDER BY s.updated_at DESC, s.key DESC
 LIMIT :limit;

-- name: sessions_at_a_glance
-- With each its last turn; its open calls, by their rows and by the results that are awaited; the inputs that wait.
SELECT s.key, s.id, s.parent, s.model, s.metadata, s.created_at, s.crc,
       s.updated_at, s.owner, s.owner_since, s.epoch, s.next_seq, s.next_turn, s.active, s.usage_rows, s.recoveries,
       s.archived_at, s.closed_at, s.quarantined_at, s.context_tokens, s.context_window, s.failed_compactions,
       s.events, s.approvals, s.waits, s.rules,
       t.number, t.origin, t.epoch, t.request_id, t.metadata, t.owner, t.started_at, t.crc,
       t.state, t.rounds, t.tool_calls, t.ended_at, t.status, t.stop_reason, t.error_code, t.error, t.answer_seq, t.end_crc,
       (SELECT count(*) FROM calls c INDEXED BY open_calls WHERE c.session = s.key AND c.result_seq IS NULL),
       (SELECT s.next_seq - 1 - a.seq - (SELECT count(*) FROM messages m WHERE m.session = s.key AND m.seq > a.seq)
          FROM messages a WHERE a.session = s.key AND a.role = 'assistant' ORDER BY a.seq DESC LIMIT 1),
       (SELECT count(*) FROM inputs i WHERE i.session = s.key AND i.turn IS NULL)
  FROM sessions s
  LEFT JOIN turns t ON t.session = s.key AND t.number = (SELECT max(l.number) FROM turns l WHERE l.session = s.key)
 WHERE s.key IN (SELECT value FROM json_each(:keys));

-- name: owned_sessions
SELECT key, id, owner, owner_since FROM sessions WHERE owner IS NOT NULL ORDER BY key;

-- name: children_of
SELECT id FROM sessions WHERE parent = :session ORDER BY key;

-- name: claim_session
-- A recovery is counted here, before it is made.
-- The session is ours from here on: the higher epoch makes every late write of the former owner fail.
UPDATE sessions
   SET epoch = epoch + 1, owner = :owner, owner_since = :at, updated_at = :at, next_turn = next_turn + 1,
       next_seq = next_seq + :more_seq, active = active + :more_active,
       stop_requested_at = NULL, stop_reason = NULL, stop_crc = NULL,
       events = events + :more_events, recoveries = iif(:recovers, recoveries + 1, 0), quarantined_at = NULL
 WHERE key = :session
RETURNING epoch, next_turn - 1 AS turn;

-- name: change_session
-- A change by nobody's turn (abort, resolve, close): it outdates whoever drove the session before.
UPDATE sessions
   SET epoch = epoch + 1, owner = NULL, owner_since = NULL, updated_at = :at,
       active = active + :more_active, events = events + :more_events,
       stop_requested_at = NULL, stop_reason = NULL, stop_crc = NULL,
       recoveries = iif(:freed, 0, recoveries), quarantined_at = iif(:freed, NULL, quarantined_at)
 WHERE key = :session;

-- name: fold_session
-- By nobody's turn, as `change_session`; no row changes if somebody had the session since it was read.
UPDATE sessions
   SET epoch = epoch + 1, owner = NULL, owner_since = NULL, updated_at = :at, next_seq = next_seq + :more_seq,
       active = active + :more_active, usage_rows = usage_rows + :more_usage, events = events + :more_events,
       stop_requested_at = NULL, stop_reason = NULL, stop_crc = NULL, failed_compactions = 0,
       context_tokens = :context_tokens, context_window = coalesce(:context_window, context_window)
 WHERE key = :session AND epoch = :epoch;

-- name: count_failed_compaction
UPDATE sessions
   SET failed_compactions = failed_compactions + 1, usage_rows = usage_rows + :more_usage,
       events = events + :more_events, updated_at = :at
 WHERE key = :session;

-- name: quarantine_session
UPDATE sessions SET quarantined_at = :at WHERE key = :session;

-- name: advance_session
-- No row comes back if our epoch is stale (somebody took the session over), or if our turn has ended.
UPDATE sessions
   SET next_seq = max(next_seq, :next_seq), active = active + :more_active, usage_rows = usage_rows + :more_usage,
       updated_at = :at, context_tokens = coalesce(:context_tokens, context_tokens),
       context_window = coalesce(:context_window, context_window),
       failed_compactions = iif(:compacted, 0, failed_compactions) + :failed_compactions, events = events + :more_events,
       recoveries = iif(:progress, 0, recoveries)
 WHERE key = :session AND epoch = :epoch AND owner IS NOT NULL
RETURNING usage_rows, events;

-- name: leave_session
-- The same at the end of a turn. Apart, because to set an owner is to write the indexes of those that have one.
UPDATE sessions
   SET next_seq = max(next_seq, :next_seq), active = active + :more_active, usage_rows = usage_rows + :more_usage,
       updated_at = :at, recoveries = iif(:progress, 0, recoveries),
       context_tokens = coalesce(:context_tokens, context_tokens),
       context_window = coalesce(:context_window, context_window),
       failed_compactions = iif(:compacted, 0, failed_compactions) + :failed_compactions, events = events + :more_events,
       owner = NULL, owner_since = NULL, stop_requested_at = NULL, stop_reason = NULL, stop_crc = NULL
 WHERE key = :session AND owner IS NOT NULL AND epoch = :epoch
RETURNING usage_rows, events;

-- name: session_by_scan
-- Past the index: for telling an id that is not there from an index that does not find it.
SELECT id FROM sessions NOT INDEXED WHERE id = :id;

-- name: session_epoch
SELECT epoch FROM sessions WHERE key = :session;

-- name: request_stop
UPDATE sessions SET stop_requested_at = :at, stop_reason = :reason, stop_crc = :crc
 WHERE key = :session AND owner IS NOT NULL AND stop_requested_at IS NULL;

-- name: stops_requested
SELECT key, id, epoch, stop_requested_at, stop_reason, stop_crc FROM sessions WHERE stop_requested_at IS NOT NULL;

-- name: archive_session
UPDATE sessions SET archived_at = iif(:archived, coalesce(archived_at, :at), NULL), updated_at = :at WHERE key = :session;

-- name: close_session
UPDATE sessions SET closed_at = coalesce(closed_at, :at), updated_at = :at WHERE key = :session;

-- name: delete_session
DELETE FROM sessions WHERE key = :session;

-- name: data_version
PRAGMA data_version;
