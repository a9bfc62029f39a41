"""What is on disk survives a kill: atomic writes, unfinished work, and which code and data it belongs to."""
