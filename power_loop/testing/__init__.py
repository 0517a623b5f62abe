"""The test kit: scripted models that hold clients to the provider's protocol, and the kill sweep for any app.

`script` is what is said and what goes wrong, `protocol` the provider's rules, `model` a model in process,
`scripted_server` a server on a thread, `process` the same in a process, `server` its command line; `crash` the kill
sweep; `conformance` the contracts of stores and sinks; `clock` time and ids by hand; `assertions` transcripts and
ledgers as texts. Nothing in the product imports this package but the demo.
"""

from power_loop.testing.assertions import assert_ledger, assert_transcript, ledger_text, transcript_text
from power_loop.testing.clock import CountingIds, ManualClock, world
from power_loop.testing.crash import (
    Client,
    CrashFailures,
    CrashPoints,
    CrashReport,
    FakeRemote,
    Scenario,
    crash_everywhere,
)
from power_loop.testing.model import ScriptedModel
from power_loop.testing.process import ServerProcess
from power_loop.testing.script import Asked, Call, Fault, Reply, ScriptError
from power_loop.testing.scripted_server import ScriptedServer

__all__ = [
    "Asked",
    "Call",
    "Client",
    "CountingIds",
    "CrashFailures",
    "CrashPoints",
    "CrashReport",
    "FakeRemote",
    "Fault",
    "ManualClock",
    "Reply",
    "Scenario",
    "ScriptError",
    "ScriptedModel",
    "ScriptedServer",
    "ServerProcess",
    "assert_ledger",
    "assert_transcript",
    "crash_everywhere",
    "ledger_text",
    "transcript_text",
    "world",
]
