"""LangGraph with each checkpoint on disk before the next step begins."""

from __future__ import annotations

from bench.peers.langgraph import Langgraph


class LanggraphSync(Langgraph):
    title = 'LangGraph, durability "sync"'
    setting = 'WAL, synchronous=FULL, durability="sync"'
    equally_durable = True
    durability = "sync"


PEER = LanggraphSync
