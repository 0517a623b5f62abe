"""What a durable turn costs, against others: `python -m bench`. No part of the package. See docs/performance.md.

`conversation` is the one turn everybody runs, `server` the model's; `peers` has the contestants, one file each, `host`
runs one in a process of its own, in an environment that `venvs` makes; `contestants` is the driver's hold on it.
`compare` has the workloads that compare, interleaved, `scale` those of size; `workloads` names them. `watching` looks
on the disk in the middle of a turn, `counting` counts commits. `report`, `targets`, `plots`, `pages` tell of it;
`profile` says where the time of a turn goes.
"""
