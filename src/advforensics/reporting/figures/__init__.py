"""A tidy table in, a figure out."""
