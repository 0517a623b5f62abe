"""Facts as OpenTelemetry spans, in the words of its conventions for generative AI. An extra: `power-loop[otel]`.

`sink` is what an app builds; only `spans` imports the package, once one is built. The conventions still move: their
names are all in `names`. `ids` says why a resumed turn finds the one that a dead process left.
"""

from power_loop.sink.otel.sink import OpenTelemetrySink

__all__ = ["OpenTelemetrySink"]
