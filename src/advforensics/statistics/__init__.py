"""Statistics of sample tables: curves, intervals, comparisons, radii. Nothing here imports torch."""
