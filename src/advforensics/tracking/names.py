"""Names of runs, made from the overrides of their command."""

import re
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig

PLACES = ("folder", "checkpoint", "tracking", "tracking.uri")  # where, not what


def job_overrides(left_out: Iterable[str] = PLACES) -> list[str]:
    """Return the shortened overrides of the Hydra job, without some keys; none outside a job."""
    return shortened(HydraConfig.get().overrides.task, left_out) if HydraConfig.initialized() else []


def shortened(overrides: Iterable[str], left_out: Iterable[str] = PLACES) -> list[str]:
    """Return overrides as part of a name. The dashboard cuts names off: ``store`` comes last, common prefixes go."""
    kept = [override for override in overrides if override.lstrip("+~").partition("=")[0] not in left_out]
    kept.sort(key=lambda override: override.startswith("store="))
    return [re.sub(r"^([+~]*)(defense\.module|trainer)\.", r"\1", override) for override in kept]


def ensemble() -> str:
    """Return the name of the ensemble that a sweep attacks with, ``changed`` if it was; ``sweep`` outside of a job."""
    if not HydraConfig.initialized():
        return "sweep"
    changed = any("ensemble." in override for override in HydraConfig.get().overrides.task)
    return f"{HydraConfig.get().runtime.choices['ensemble']}{' changed' if changed else ''}"
