"""Defences as LightningModules: each says what a training step minimises, and nothing else."""
