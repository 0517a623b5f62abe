"""What goes out of a session: facts once they are committed, and live deltas and progress beside them.

`live` names what is never stored; `feed` hands events to whoever listens to one turn; `hub` knows who listens to which
session, and `following` is one such reader: it replays from the store, then follows. `loop` publishes, edges listen.
Invariants: no event of a fact goes out before the fact is on disk; nobody who listens is waited for.
"""

from power_loop.events.feed import Feed
from power_loop.events.following import SessionEvents
from power_loop.events.hub import Hub
from power_loop.events.live import Event, LiveEvent, SessionEvent, ToolProgress

__all__ = ["Event", "Feed", "Hub", "LiveEvent", "SessionEvent", "SessionEvents", "ToolProgress"]
