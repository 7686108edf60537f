"""Many checkpoints at once: the same work on each, in worker processes or on a Dask cluster, as results come."""
