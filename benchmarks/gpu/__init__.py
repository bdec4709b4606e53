"""The GPU benchmark, which ``measure_gpu.py`` runs: what is measured, against what, and how."""
