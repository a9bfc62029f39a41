"""Findings, figures and the page of a report. Nothing here imports torch."""
