"""Deliberately damaged databases, one a rule, and what `doctor` must say of each.

`sql` breaks what must hold between rows, in a file whose checksums are right; `files` breaks the file itself. `make`
writes them: `python -m tests.damaged.make FOLDER [RULE]`. None is stored: each is made afresh of sessions that the
real code wrote.
"""
