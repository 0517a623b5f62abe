"""The kill sweep: a real process is killed at every point of a session's life, recovered, and judged.

`python -m tests.crash.sweep --all` runs all of it, `test_kill_sweep` a seeded sample. `scenario` is what the client
does, `points` where it can die, `recoveries` how a fresh process goes on, `evidence` what is found on disk, `oracle`
what must be true of it, `windows` which moments were hit, `case` one run through all of these, `worker` a process that
forks the clients. `agent` is a plain app for the tests of single deaths.
"""
