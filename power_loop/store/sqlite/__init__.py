"""The embedded store: one SQLite file in WAL mode, `synchronous=FULL`.

`opening` checks and creates files, `migrating` upgrades them, `writer` is the one place that commits, `owners` tells
who lives, `faults` turns what sqlite3 raises into typed errors, `store` puts them together. One read-write connection a
process; all others only read and never checkpoint.
"""
