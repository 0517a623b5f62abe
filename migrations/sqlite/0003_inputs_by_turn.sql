-- Deleting a session goes to its inputs, and not past all that there are.

PRAGMA user_version = 3;

-- Foreign keys are followed from a session to its inputs, and from each of its turns.
CREATE INDEX inputs_by_turn ON inputs (session, turn);
