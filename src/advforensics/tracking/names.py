"""Names of runs, made from the overrides of their command."""

import re
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

PLACES = ("folder", "checkpoint", "tracking", "tracking.uri", "launcher", "threads", "force")  # where, not what


def job_overrides(left_out: Iterable[str] = PLACES) -> list[str]:
    """Return the shortened overrides of the Hydra job, without some keys; none outside a job."""
    return shortened(HydraConfig.get().overrides.task, left_out) if HydraConfig.initialized() else []


def multirun_name(overrides: Iterable[str]) -> str:
    """Return the name of a multirun: first what varies, and in how many values."""
    parsed = OverridesParser.create().parse_overrides(shortened(overrides))
    counts = {
        one.input_line: len(list(one.sweep_string_iterator())) if one.is_discrete_sweep() else 0
        for one in parsed
        if one.is_sweep_override()
    }
    varied = [f"{told.partition('=')[0]} x{count}" if count else told for told, count in counts.items()]
    same = [told for one in parsed if (told := str(one.input_line)) not in counts]
    return " ".join([*varied, *same]) or "multirun"


def shortened(overrides: Iterable[str], left_out: Iterable[str] = PLACES) -> list[str]:
    """Return overrides as part of a name. The dashboard cuts names off: ``store`` comes last, common prefixes go."""
    kept = [override for override in overrides if override.lstrip("+~").partition("=")[0] not in left_out]
    kept = [override for override in kept if not override.lstrip("+~").startswith("hydra.")]
    kept.sort(key=lambda override: override.startswith("store="))
    return [re.sub(r"^([+~]*)(defense\.module|trainer)\.", r"\1", override) for override in kept]


def ensemble() -> str:
    """Return the name of the ensemble that a sweep attacks with, ``changed`` if it was; ``sweep`` outside of a job."""
    if not HydraConfig.initialized():
        return "sweep"
    changed = any("ensemble." in override for override in HydraConfig.get().overrides.task)
    return f"{HydraConfig.get().runtime.choices['ensemble']}{' changed' if changed else ''}"
