"""power-loop 0.2.0 with its connection at FULL."""

from __future__ import annotations

from bench.peers.power_loop_020 import PowerLoop020


class PowerLoop020Full(PowerLoop020):
    title = "power-loop 0.2.0 at FULL"
    setting = "WAL, synchronous=FULL (set by hand)"
    equally_durable = True
    synchronous = "FULL"


PEER = PowerLoop020Full
