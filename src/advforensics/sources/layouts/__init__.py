"""Layouts of published data sets: how paths annotate pictures."""
