"""Where facts go: the store, nothing, a file, several at once. A sink takes in facts and nothing else.

`StoreSink` is the one that promises durability. A loop waits for its sink before anything depends on a fact.
"""

from power_loop.sink.jsonl import JsonlSink
from power_loop.sink.message_sink import MessageSink, NullSink
from power_loop.sink.store_sink import StoreSink
from power_loop.sink.tee import TeeSink

__all__ = ["JsonlSink", "MessageSink", "NullSink", "StoreSink", "TeeSink"]
