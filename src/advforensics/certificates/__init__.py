"""Radii within which no attack can succeed."""
