"""The same workload on us and on what else one could use, side by side in one run. Writes bench/report/bench.md."""
