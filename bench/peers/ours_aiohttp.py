"""Ours, with the model asked over aiohttp (the extra of that name)."""

from __future__ import annotations

from bench.peers.ours import Ours


class OursAiohttp(Ours):
    title = "power-loop, aiohttp"
    setting = 'WAL, synchronous=FULL; the model asked with transport="aiohttp"'
    transport = "aiohttp"
    in_process = False


PEER = OursAiohttp
