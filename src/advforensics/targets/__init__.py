"""Targets: detectors to attack, from this package or from elsewhere.

Each file in ``conf/target/`` names a function here. It takes a patch store, for the classes and the patch shape, and
returns a :class:`~advforensics.detectors.checkpoint.TrainedDetector`.
"""
