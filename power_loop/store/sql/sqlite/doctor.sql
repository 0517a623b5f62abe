-- name: doctor_integrity
-- Pages, indexes, types and NOT NULL of the whole file; one row "ok", or what is wrong. A connection that only reads
-- does not know the CHECKs: what they would find is for the checksums and the invariants.
PRAGMA integrity_check(50);

-- name: doctor_tables
SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name;

-- name: doctor_integrity_of
-- One table and its indexes, for when the check of the whole file gives up.
SELECT integrity_check FROM pragma_integrity_check(:table) LIMIT 5;

-- name: doctor_foreign_keys
PRAGMA foreign_key_check;

-- name: doctor_journal_mode
PRAGMA journal_mode;

-- name: doctor_schema
SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type, name;

-- name: doctor_sessions
-- Every session as it is stored, believed or not, whatever became of the indexes; the one changed last first.
SELECT key, id, parent, model, metadata, created_at, crc, updated_at, epoch, owner, owner_since, next_seq, next_turn,
       active, usage_rows, stop_requested_at, archived_at, closed_at, recoveries, quarantined_at,
       context_tokens, context_window, failed_compactions, events, approvals, waits, rules, stop_reason, stop_crc
  FROM sessions NOT INDEXED ORDER BY updated_at DESC, key DESC;
