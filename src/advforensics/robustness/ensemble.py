"""From an ensemble's config to what its attacks find: every norm, domain and aim."""

import logging
from collections.abc import Iterator
from functools import partial

from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.attacks.deliver import Domain
from advforensics.attacks.threat import Norm
from advforensics.robustness.cascade import AnyAttack, Swept
from advforensics.robustness.engine import Engine

log = logging.getLogger(__name__)


def cascades(engine: Engine, ensemble: DictConfig, gradients: bool) -> Iterator[Swept]:
    """Yield what each norm, aim and domain gives.

    Whole levels come before floats: they are floats as well, and are tried as such.

    Args:
        engine: Of the detector.
        ensemble: What ``conf/ensemble/`` describes: ``attacks`` in the order of the cascade, each for one norm or still
            to be told one, ``norms`` and ``domains``.
        gradients: Whether the detector has any. Without, only black boxes are left.

    Raises:
        ValueError: If attacks, norms or domains are missing, or none is left.
    """
    if not (ensemble.get("attacks") and ensemble.get("norms") and ensemble.get("domains")):
        raise ValueError("ensemble: a sweep needs attacks, norms and domains; ensemble=standard has all of them")
    for norm in ensemble.norms:
        attacks = _attacks(ensemble, norm, gradients)
        for wanted in sorted({getattr(attack, "wanted", None) for attack in attacks}, key=str):
            cascade = [attack for attack in attacks if getattr(attack, "wanted", None) == wanted]
            delivered = None
            domains = [_domain(config, wanted) for config in ensemble.domains.values()]
            for domain in sorted(domains, key=lambda domain: domain.name == "float"):
                swept = engine.run(cascade, domain, delivered if domain.name == "float" else None)
                delivered = swept if domain.name == "8bit" else delivered
                yield swept


def _attacks(ensemble: DictConfig, norm: Norm, gradients: bool) -> list[AnyAttack]:
    made = [instantiate(attack) for attack in ensemble.attacks.values()]
    told = [attack(norm=norm) if isinstance(attack, partial) else attack for attack in made]
    attacks: list[AnyAttack] = [attack for attack in told if attack.norm == norm]
    if not gradients:
        left_out = [attack.name for attack in attacks if attack.knowledge != "black box"]
        attacks = [attack for attack in attacks if attack.knowledge == "black box"]
        log.warning("the detector gives no gradients: in %s, %s are left out", norm, ", ".join(left_out) or "none")
    if not attacks:
        raise ValueError(f"ensemble.attacks: none is left for {norm}; a detector without gradients needs a black box")
    return attacks


def _domain(config: DictConfig, wanted: int | None) -> Domain:
    changed: dict[str, object] = {}
    if wanted is not None and "folder" in config:
        changed["folder"] = f"{config.folder}/class-{wanted}"  # files of another aim bear the same names
    domain: Domain = instantiate(config, **changed)
    return domain
