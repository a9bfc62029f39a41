"""Where pictures come from, and the rule that says which of them belong together."""
