"""The detectors that can be attacked: ours, and anybody's who can give logits for pictures.

Each function of this package that a file in ``conf/target/`` names takes a patch store, for classes and patch shape,
and returns a :class:`~advforensics.detectors.checkpoint.TrainedDetector`.
"""
