"""Where facts go: the store, nothing, a file, a log, spans, several at once. A sink takes in facts and nothing else.

`StoreSink` is the one that promises durability: a loop waits for it before anything depends on a fact. `Listeners`
holds an app's own sinks, which hear of facts afterwards and can hold nothing up.
"""

from power_loop.sink.jsonl import JsonlSink
from power_loop.sink.listeners import Listeners, SinkLimits
from power_loop.sink.log import LoggingSink
from power_loop.sink.message_sink import MessageSink, NullSink
from power_loop.sink.otel import OpenTelemetrySink
from power_loop.sink.store_sink import StoreSink
from power_loop.sink.tee import TeeSink

__all__ = [
    "JsonlSink",
    "Listeners",
    "LoggingSink",
    "MessageSink",
    "NullSink",
    "OpenTelemetrySink",
    "SinkLimits",
    "StoreSink",
    "TeeSink",
]
