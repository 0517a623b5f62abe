"""The only package that knows SQL: where sessions live, and the one place that writes them.

`contract` is what a store promises, `records` what it gives back; `parsing` makes that of rows, and `seals` tell a
damaged row. `transactions` is one plain function a change, `reads` one a question, both over a `port.Port` and the same
for every dialect; `sqlite` is the embedded store. Every change is one transaction, checked against the session's epoch,
and acknowledged only once it is on disk.
"""

from power_loop.store.contract import SessionStore
from power_loop.store.opening import open_store
from power_loop.store.sqlite.backing_up import Copied, backup, restore

__all__ = ["Copied", "SessionStore", "backup", "open_store", "restore"]
