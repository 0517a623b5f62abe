"""All rules for a store, as one class."""

from __future__ import annotations

from power_loop.testing.conformance.begin import BeginRules
from power_loop.testing.conformance.concurrency import ConcurrencyRules
from power_loop.testing.conformance.decisions import DecisionRules
from power_loop.testing.conformance.events import EventRules
from power_loop.testing.conformance.fencing import FencingRules
from power_loop.testing.conformance.folding import FoldingRules
from power_loop.testing.conformance.inbox import InboxRules
from power_loop.testing.conformance.keeping import KeepingRules
from power_loop.testing.conformance.ledger import LedgerRules
from power_loop.testing.conformance.lifecycle import LifecycleRules
from power_loop.testing.conformance.lookup import LookupRules
from power_loop.testing.conformance.orphans import OrphanRules
from power_loop.testing.conformance.outputs import OutputRules
from power_loop.testing.conformance.recovery import RecoveryRules
from power_loop.testing.conformance.waiting import RemarkRules, WaitingRules


class SessionStoreConformance(
    BeginRules,
    LedgerRules,
    FencingRules,
    DecisionRules,
    KeepingRules,
    FoldingRules,
    OutputRules,
    LookupRules,
    LifecycleRules,
    OrphanRules,
    InboxRules,
    RecoveryRules,
    EventRules,
    WaitingRules,
    RemarkRules,
    ConcurrencyRules,
):
    """What `power_loop.store.contract.SessionStore` promises, as tests. Subclass it and override `open_store`.

    A store that fails one of them loses, repeats or mixes up something under a real loop.
    """
