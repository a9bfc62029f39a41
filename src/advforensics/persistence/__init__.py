"""Files that survive a kill: atomic writes, unfinished work, the journal, provenance."""
