"""What happens around the steps of a training: callbacks for Lightning's Trainer."""

from advforensics.training.course import Course
from advforensics.training.overfitting import OverfittingGuard
from advforensics.training.robust_validation import RobustValidation
from advforensics.training.seeding import EpochSeed

__all__ = ["Course", "EpochSeed", "OverfittingGuard", "RobustValidation"]
