"""Datasets: kept as Minari datasets, read as memory-mapped arrays, sampled as segments.

`store` writes, opens and describes datasets; `pack` derives plain arrays from one; `segments`
samples training batches from those.
"""
