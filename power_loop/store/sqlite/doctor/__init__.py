"""What is wrong with a database file, found by reading alone and said in words with the way out.

`examination` goes through the checks in order; `files` asks the file system, `mounts` where the file lies, `log` reads
the write-ahead log; `scan` believes no row that is not what was written; `invariants` is the table of what must hold
between rows, one named query each; `findings` is what an examination comes to. Nothing here writes, and what cannot be
read is a finding, never a crash.
"""

from power_loop.store.sqlite.doctor.examination import each_session, examine
from power_loop.store.sqlite.doctor.findings import Finding, Grade, Spot

__all__ = ["Finding", "Grade", "Spot", "each_session", "examine"]
