"""Radii within which provably no attack succeeds."""
