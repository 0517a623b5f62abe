"""The comparing half of the suite: contestants side by side, interleaved. One file a workload, each with `measure`."""
