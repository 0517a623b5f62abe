"""Ours, giving up the promise about power cuts."""

from __future__ import annotations

from bench.peers.ours import Ours


class OursNormal(Ours):
    title = "power-loop, NORMAL"
    setting = "WAL, synchronous=NORMAL: a power cut may lose commits"
    equally_durable = False
    synchronous = "NORMAL"


PEER = OursNormal
