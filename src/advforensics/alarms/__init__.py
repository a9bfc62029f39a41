"""Reasons not to believe a sweep."""
