"""Patches on disk: cut, split, written, audited and read."""
