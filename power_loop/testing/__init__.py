"""The test kit: model servers that answer from a script and hold clients to the provider's protocol.

`script` is what is said and what goes wrong, `protocol` the provider's rules, `scripted_server` the server on a thread,
`process` the same in a process, `server` its command line. Nothing in the product imports this package.
"""

from power_loop.testing.assertions import assert_ledger, assert_transcript, ledger_text, transcript_text
from power_loop.testing.clock import CountingIds, ManualClock, world
from power_loop.testing.process import ServerProcess
from power_loop.testing.script import Asked, Call, Fault, Reply, ScriptError
from power_loop.testing.scripted_server import ScriptedServer

__all__ = [
    "Asked",
    "Call",
    "CountingIds",
    "Fault",
    "ManualClock",
    "Reply",
    "ScriptError",
    "ScriptedServer",
    "ServerProcess",
    "assert_ledger",
    "assert_transcript",
    "ledger_text",
    "transcript_text",
    "world",
]
