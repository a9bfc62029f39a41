"""Findings, figures and the report's page. Nothing here imports torch."""
