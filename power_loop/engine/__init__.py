"""Decides; never does. Facts, states as tables, and two pure functions: `decide` and `recover`.

No I/O, no clock, no await, nothing imported but values, errors and transcript. `loop` does what is decided here.
Invariant: every move of a turn or a call is in `turns.NEXT` or `calls.NEXT`; any other raises and changes nothing.
"""
