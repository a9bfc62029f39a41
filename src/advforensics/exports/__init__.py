"""Exports: forms in which others can use a detector, and the card that says how far it can be trusted."""
