"""Today's whole schema as one readable file: `python -m tests.store.schema_text` writes it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.store.kit import MIGRATIONS, migrated

FILE = MIGRATIONS / "schema.sql"

HEADER = """\
-- The whole schema as all migrations leave it: for reading, and to try things out.
-- Databases are made and upgraded by the numbered migrations alone. Generated; after a new migration write it again:
--     python -m tests.store.schema_text
-- tests/store/test_schema.py holds it equal to what the migrations give.

"""
ORDER = ("table", "index", "trigger", "view")


def text(where: Path = MIGRATIONS) -> str:
    with closing(migrated(where)) as connection:
        pragmas = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        found = connection.execute(
            "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        ).fetchall()
    objects = [f"{sql};" for kind in ORDER for type_, sql in found if type_ == kind]
    return HEADER + "\n".join(pragmas) + "\n\n" + "\n\n".join(objects) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
