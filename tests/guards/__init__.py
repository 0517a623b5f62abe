"""Guards that matter: each guard of ledger, epochs, commits, files, inbox, recovery, compaction and checksums is taken
out in turn, in a copy of the tree, and a test must fail.

    python -m tests.guards                              all of them: about 10 minutes on 2 cores
    python -m tests.guards --only epoch --jobs 2        those whose names begin so
    python -m tests.guards --list

`table` says what each guard keeps, the exact text that is replaced, and the one test that must fail. `trial` copies,
patches and runs; `command` shows what came of it. The exit code is 1 if a guard is not missed (SURVIVED), if its text
is not in the source exactly once, if no test ran (a syntax error is no catch), or if the tests fail with all guards in
place. A row with `redundant` says why nothing can fail without it: it is tried as well, and must not be missed.

`test_guards.py` tries a few on every run of the tests: others whenever the guarded sources change.
"""
