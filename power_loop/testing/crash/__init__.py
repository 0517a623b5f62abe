"""The kill sweep, for any app: a real process is killed at every point of its life, recovered, and judged.

`scenario` is what the app does, `client` and `app` one process of it, `points` and `every` where it can die, `ways` how
a fresh process goes on, `evidence` what is found on disk, `oracle`, `runs` and `outcome` what must be true of it,
`windows` which moments were hit. `court` judges a case in forked `processes`, `worker` is the process it forks from,
`jury` several of those, `everywhere` the whole sweep, `report` what it found. `watching` sees every tool and request,
`remote` is the world outside. The store's own code reads none of the evidence but for its doctor.
"""

from power_loop.testing.crash.case import Case, Verdict
from power_loop.testing.crash.client import Acknowledged, Client, ScenarioError
from power_loop.testing.crash.everywhere import crash_everywhere
from power_loop.testing.crash.evidence import Evidence, SessionRows
from power_loop.testing.crash.points import CrashPoints, Point
from power_loop.testing.crash.remote import FakeRemote
from power_loop.testing.crash.report import CrashFailures, CrashReport
from power_loop.testing.crash.scenario import Scenario
from power_loop.testing.crash.ways import WAYS
from power_loop.testing.crash.windows import WINDOWS

__all__ = [
    "WAYS",
    "WINDOWS",
    "Acknowledged",
    "Case",
    "Client",
    "CrashFailures",
    "CrashPoints",
    "CrashReport",
    "Evidence",
    "FakeRemote",
    "Point",
    "Scenario",
    "ScenarioError",
    "SessionRows",
    "Verdict",
    "crash_everywhere",
]
