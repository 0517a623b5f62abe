-- name: doctor_integrity
-- Pages, indexes, types and NOT NULL of the whole file; one row "ok", or what is wrong. A connection that only reads
-- does not know the CHECKs: what they would find is for the checksums and the contradictions below.
PRAGMA integrity_check(50);

-- name: doctor_foreign_keys
PRAGMA foreign_key_check;

-- name: doctor_journal_mode
PRAGMA journal_mode;

-- name: doctor_schema
SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type, name;

-- name: doctor_sessions
-- Every session as it is stored, believed or not; the one changed last first.
SELECT * FROM sessions ORDER BY updated_at DESC, key DESC;

-- name: doctor_contradictions
-- Where rows that are each as written do not fit together: something was removed, or changed by another hand.
SELECT session, seq, what
  FROM (SELECT s.id AS session, NULL AS seq,
               s.active || ' active messages were written, ' || count(m.seq) || ' are there' AS what
          FROM sessions s
          LEFT JOIN messages m ON m.session = s.key AND m.state = 'active'
         GROUP BY s.key
        HAVING s.active <> count(m.seq)
        UNION ALL
        SELECT s.id, NULL, (s.next_turn - 1) || ' turns were written, ' || count(t.number) || ' are there'
          FROM sessions s
          LEFT JOIN turns t ON t.session = s.key
         GROUP BY s.key
        HAVING s.next_turn - 1 <> count(t.number)
        UNION ALL
        SELECT id, NULL, counted || ' calls were counted, ' || there || ' are there'
          FROM (SELECT s.id, (SELECT coalesce(sum(t.tool_calls), 0) FROM turns t WHERE t.session = s.key) AS counted,
                       (SELECT count(*) FROM calls c WHERE c.session = s.key) AS there
                  FROM sessions s)
         WHERE counted <> there
        UNION ALL
        SELECT s.id, NULL, s.usage_rows || ' usage rows were written, ' || count(u.number) || ' are there'
          FROM sessions s
          LEFT JOIN usage u ON u.session = s.key
         GROUP BY s.key
        HAVING s.usage_rows <> count(u.number)
        UNION ALL
        SELECT s.id, a.seq, 'message ' || a.seq || ' asks for ' || a.asked || ' calls, the ledger has ' || a.kept
          FROM (SELECT m.session, m.seq,
                       CASE WHEN json_valid(m.body) THEN coalesce(json_array_length(m.body, '$.tool_calls'), 0) END
                           AS asked,
                       (SELECT count(*) FROM calls c WHERE c.session = m.session AND c.seq = m.seq) AS kept
                  FROM messages m
                 WHERE m.role = 'assistant') a
          JOIN sessions s ON s.key = a.session
         WHERE a.asked <> a.kept
        UNION ALL
        SELECT s.id, m.seq, 'message ' || m.seq || ' answers no call'
          FROM messages m
          JOIN sessions s ON s.key = m.session
         WHERE m.role = 'tool'
           AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.session = m.session AND c.result_seq = m.seq)
        UNION ALL
        SELECT s.id, c.seq, 'call ' || c.id || ' of message ' || c.seq || ' has message ' || m.seq ||
               ' as its result, which answers another'
          FROM calls c
          JOIN messages m ON m.session = c.session AND m.seq = c.result_seq
          JOIN sessions s ON s.key = c.session
         WHERE m.role <> 'tool'
            OR CASE WHEN json_valid(m.body) THEN json_extract(m.body, '$.tool_call_id') IS NOT c.id END
        UNION ALL
        SELECT s.id, min(c.seq), count(*) || ' calls are open, though the last turn is ' || t.state
          FROM sessions s
          JOIN turns t ON t.session = s.key AND t.number = s.next_turn - 1
          JOIN calls c ON c.session = s.key AND c.result_seq IS NULL
         WHERE t.state IN ('asking', 'done')
         GROUP BY s.key
        UNION ALL
        SELECT s.id, c.seq, 'call ' || c.id || ' of message ' || c.seq || ' is ' || c.state ||
               iif(c.result_seq IS NULL, ' without a result', ' and has a result') || ', started ' || c.attempt || ' times'
          FROM calls c
          JOIN sessions s ON s.key = c.session
         WHERE (c.state IN ('requested', 'awaiting_approval', 'started')) <> (c.result_seq IS NULL)
            OR (c.attempt = 0) <> (c.started_at IS NULL)
            OR (c.attempt = 0 AND c.state IN ('started', 'succeeded', 'timed_out', 'reported'))
        UNION ALL
        SELECT s.id, NULL, iif(s.owner IS NULL, 'a turn is live, and nobody owns the session',
                               'somebody owns the session, and no turn is live')
          FROM sessions s
         WHERE (s.owner IS NOT NULL) <> EXISTS (SELECT 1 FROM turns t WHERE t.session = s.key AND t.ended_at IS NULL)
        UNION ALL
        SELECT s.id, m.seq, 'message ' || m.seq || ' is ' || m.state || iif(m.folded_by IS NULL, ' by nothing', ' and folded')
          FROM messages m
          JOIN sessions s ON s.key = m.session
         WHERE (m.state = 'compacted_out') <> (m.folded_by IS NOT NULL)
        UNION ALL
        SELECT s.id, m.seq, 'message ' || m.seq || ' was folded by compaction ' || m.folded_by || ', which is not there'
          FROM messages m
          JOIN sessions s ON s.key = m.session
         WHERE m.folded_by IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM compactions c WHERE c.session = m.session AND c.number = m.folded_by))
 ORDER BY session, seq
 LIMIT 1000;
