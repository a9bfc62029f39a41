"""From a checkpoint to numbers one can stand behind: the sweep, its curves, their intervals, the alarms."""
