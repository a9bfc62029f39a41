"""Tables in, tables out: curves, intervals, comparisons, radii. Nothing here imports torch."""
