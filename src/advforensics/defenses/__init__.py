"""Training regimes as LightningModules: what is minimised in a training step, and nothing else."""
