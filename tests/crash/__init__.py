"""The project's own kill sweep, on `power_loop.testing.crash`.

`python -m tests.crash.sweep --all` runs all of it, `test_kill_sweep` a seeded sample. `two_rounds` is the scenario of
A1, `scenarios` makes varied ones from the `plans` of seeds. `agent` is a plain app for the tests of single deaths.
"""
