"""Forensic questions: what classes there are, and what is done to a picture of each."""
