"""What devices fetch: their assignments, and the bundles assigned to them. Nothing else."""
