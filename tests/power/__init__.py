"""Power cuts, failing disks and flipped bits, against real files.

`python -m tests.power.cuts` records an unmodified process with strace and rebuilds its files for cuts at any system
call; `python -m tests.power.faults` lets the N-th write or flush fail or kill, for every N; `python -m
tests.power.flips` flips single bits. `scenario` is what the process under test does, `oracle` what must hold of what it
leaves behind.
"""
