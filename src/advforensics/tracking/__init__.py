"""Everything that knows MLflow: one detector is one run, and the jobs of a multirun are the children of one parent run.

A run says how it ended. One that raises is FAILED and keeps its traceback, one that is interrupted (Ctrl-C, SIGTERM) is
KILLED. Only SIGKILL and power cuts leave a run that claims to be running.
"""

import os

# MLflow reads these when it is imported: nothing is reported home, no progress bars for small files, no word about git.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
