"""The public API against a model of it, driven by Hypothesis.

`book` says in plain Python what a session is and what each call does to it; `rules` say what may happen, and `machine`
is all of them, on `stage`, `checks`, `hearing` and `telling`, each built on the one before; `agent` is a loop in a
process of its own whose model and tools are the machine, so that nothing ends before the machine says so; `hands`
starts, tells and kills agents; `shelf` reads the file; `faults` are stores that lie.
"""
