"""Forensic questions: how a picture becomes labelled versions of itself."""
