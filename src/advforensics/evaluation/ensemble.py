"""An ensemble of attacks as its config describes it, run in every norm and domain."""

import logging
from collections.abc import Iterator
from functools import partial

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from advforensics.attacks.domains import Domain
from advforensics.attacks.threat_model import Norm
from advforensics.evaluation.cascade import AnyAttack, CascadeResult, run_cascade
from advforensics.evaluation.settings import SweepSettings

log = logging.getLogger(__name__)


def run_ensemble(settings: SweepSettings, ensemble: DictConfig) -> Iterator[CascadeResult]:
    """Run the cascade of each norm, target class and domain; yield their results.

    The 8-bit domain runs before the float domain, which tries its pictures too: they are floats as well.

    Args:
        settings: Detector, images and radii.
        ensemble: What ``conf/ensemble/`` describes: ``norms``, ``domains``, and ``attacks`` in the order of the
            cascade. An attack with ``_partial_: true`` runs in every norm, any other in its own. Detectors without
            gradients of their own meet ``without_gradients.attacks`` too.

    Raises:
        ValueError: If attacks, norms or domains are missing, or no attack is left for a norm.
    """
    if not (ensemble.get("attacks") and ensemble.get("norms") and ensemble.get("domains")):
        raise ValueError("ensemble: a sweep needs attacks, norms and domains; ensemble=standard has all of them")
    for norm in ensemble.norms:
        attacks = _attacks(ensemble, norm, settings.gradients)
        aims = [getattr(attack, "target_class", None) for attack in attacks]
        for target_class in sorted(set(aims), key=str):
            cascade = [attack for attack, aim in zip(attacks, aims, strict=True) if aim == target_class]
            eight_bit = None
            domains = [_domain(config, target_class) for config in ensemble.domains.values()]
            domains = [domain for domain in domains if not (settings.files_only and domain.name == "float")]
            if not domains:
                raise ValueError(
                    "ensemble.domains: this detector takes files, and only floats are left; add png or jpeg"
                )
            for domain in sorted(domains, key=lambda domain: domain.name == "float"):
                result = run_cascade(settings, cascade, domain, eight_bit if domain.name == "float" else None)
                eight_bit = result if domain.name == "8bit" else eight_bit
                yield result


def _attacks(ensemble: DictConfig, norm: Norm, gradients: str) -> list[AnyAttack]:
    further = {} if gradients == "own" else OmegaConf.select(ensemble, "without_gradients.attacks") or {}
    configured = [instantiate(attack) for attack in (*ensemble.attacks.values(), *further.values())]
    built = [attack(norm=norm) if isinstance(attack, partial) else attack for attack in configured]
    attacks: list[AnyAttack] = [attack for attack in built if attack.norm == norm]
    if gradients == "none":
        left_out = [attack.name for attack in attacks if attack.knowledge != "black box"]
        attacks = [attack for attack in attacks if attack.knowledge == "black box"]
        log.warning("the detector gives no gradients: in %s, %s are left out", norm, ", ".join(left_out) or "none")
    if not attacks:
        raise ValueError(f"ensemble.attacks: none is left for {norm}; without gradients, give a black-box attack")
    return attacks


def _domain(config: DictConfig, target_class: int | None) -> Domain:
    options: dict[str, object] = {}
    if target_class is not None and "folder" in config:
        options["folder"] = f"{config.folder}/class-{target_class}"  # file names are the same for every target class
    domain: Domain = instantiate(config, **options)
    return domain
