"""Folding history: what may go, and what stands in its place.

`plan` is pure: which messages of a view may be folded; `summary` asks a model for the note. `loop.fold` brings them
together and records the outcome as one fact. Invariant: a call and its result go together or stay together; the system
prompt, pinned messages and the current request stay.
"""
