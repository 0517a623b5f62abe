"""What a persisted turn costs: `python -m bench` measures, prints a table and writes JSON. No part of the package.

`conversation` is the one turn everybody runs; `subjects` who runs it (ours, ours without a store, raw sqlite3, the bare
client), one class each; `workloads` what is measured, one file each; `measure` how; `report` how it is shown; `server` a
model server lean enough not to be what is measured. Contestants run interleaved in one process, so their ratios hold on a
noisy machine; single times do not.
"""
