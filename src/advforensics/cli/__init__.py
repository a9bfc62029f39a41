"""The command line: ``advforensics COMMAND``, and how it answers a mistake."""
