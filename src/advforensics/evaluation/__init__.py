"""The sweep: a cascade of attacks over radii, one row of the sample table per image."""
