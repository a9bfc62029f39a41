"""Figures: a tidy table or arrays in, a matplotlib Figure out. No pyplot, no state, no display."""
