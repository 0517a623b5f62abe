"""What a persisted turn costs: `python -m bench` measures, prints tables and writes JSON. No part of the package.

`conversation` is the one turn everybody runs; `subjects` who runs it (ours, ours without a store, raw sqlite3, the bare
client), one class each; `measure` how, `workloads` what is measured; `report` prints it; `server` is a model server
lean enough not to be what is measured; `child` what needs a process of its own. Contestants run interleaved in one
process, so their ratios hold on a noisy machine; single times do not.
"""
