"""Data sets of the field, by the names they give their files."""
