"""The scale half of the suite: what size costs, in databases, sessions, writers, memory, disk and start-up.

One file a workload: `million`, `appends`, `recovery`, `memory`, `disk`, `imports`, each with `measure(plan) -> Found`.
`turn` is the turn of `bench.conversation` with a model in process, and fills databases with it; `child` runs a function
in a fresh process; `statements` says which SQL an operation runs and how SQLite goes about it; `group` is raw sqlite3
with group commit; `inside` sums up what lies in a database file. `python -m bench.scale NAME` runs one alone.
"""
