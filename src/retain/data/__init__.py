"""Datasets: kept as Minari datasets, read as memory-mapped arrays, sampled as segments.

`store` writes, opens and describes datasets, `arrays` makes episodes of flat arrays for it; `pack`
derives plain arrays from a dataset; `segments` samples training batches from those.
"""
