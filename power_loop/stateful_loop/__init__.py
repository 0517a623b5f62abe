"""The facade: what an app calls.

`loop` is `StatefulAgentLoop`, its methods no more than parsing, waiting one's turn and handing on; `inputs` parses what
comes in, `results` is what goes out, `gates` lets one coroutine at a time into a session, `runner` runs a turn so that
nobody's cancellation tears it, `watch` hears of requests to stop, `recovery` takes up what died.
"""

from power_loop.stateful_loop.loop import StatefulAgentLoop
from power_loop.stateful_loop.recovery import Recovered
from power_loop.stateful_loop.results import SessionUsage, StatefulResult

__all__ = ["Recovered", "SessionUsage", "StatefulAgentLoop", "StatefulResult"]
