"""What goes out while a turn runs: facts once they are committed, and live deltas and progress beside them.

`live` names what is never stored; `feed` hands events to whoever listens to one turn. `loop` publishes, edges listen.
Invariant: no event of a fact goes out before the fact is on disk.
"""

from power_loop.events.feed import Feed
from power_loop.events.live import Event, LiveEvent, ToolProgress

__all__ = ["Event", "Feed", "LiveEvent", "ToolProgress"]
