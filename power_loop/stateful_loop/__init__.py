"""The facade: what an app calls.

`loop` is `StatefulAgentLoop`, standing on `sessions`, which needs no model, and on `looking`, which only reads;
`inputs` parses what comes in, `results` is what goes out. `conductor` says whose turn it is, `gates` lets one coroutine
at a time into a session, `runner` runs a turn so that nobody's cancellation tears it, `watch` hears of requests to
stop, `recovery` names what was taken up.
"""

from power_loop.stateful_loop.loop import StatefulAgentLoop
from power_loop.stateful_loop.recovery import Recovered
from power_loop.stateful_loop.results import SessionUsage, StatefulResult

__all__ = ["Recovered", "SessionUsage", "StatefulAgentLoop", "StatefulResult"]
