"""Every file in ``conf/`` composes with a command that has its group, and what it names takes what it is given."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
from configs import ATTACKS, DEFENSES, TINY_DETECTOR, Compose
from hydra.errors import ConfigCompositionException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from toys import tiny_detector

from advforensics.attacks.gateway import TorchAttack
from advforensics.cli.main import COMMANDS, config_dir
from advforensics.cli.mistakes import check_numbers
from advforensics.defenses.baseline import Baseline
from advforensics.sources.base import Source
from advforensics.store.cutting import Cutter
from advforensics.tasks.base import Task
from advforensics.tracking.experiment import Tracking

# What must be given, by command and by option of a group.
REQUIRED = {
    "prepare": [],
    "train": ["folder=."],
    "sweep": ["checkpoint=checkpoint.pt", "folder=."],
    "report": ["runs=runs"],
}
REQUIRED["audit"] = ["target=onnx", "target.path=file", "pictures=."]
REQUIRED["examine"] = ["picture=photo.jpg", "checkpoint=checkpoint.pt"]
REQUIRED["forge"] = [*REQUIRED["examine"], "wanted=real", "out=forged.png"]
REQUIRED["export"] = ["checkpoint=checkpoint.pt", "to=torchscript", "folder=."]
REQUIRED |= {"transfer": ["checkpoints=runs"], "certify": ["checkpoint=checkpoint.pt"]}
MISSING = {"photos": ["source.folder=."], "uri": ["tracking.uri=http://localhost:5000"]}
MISSING["distillation"] = ["defense.module.teacher=null"]
MISSING |= {name: ["target.path=file"] for name in ("exported", "huggingface", "onnx", "timm", "torchscript")}
MISSING |= {
    "torchvision": ["target.path=file", "target.model=resnet18"],
    "target=module": ["target.path=file", "target.module._target_=torch.nn.Flatten"],
    "detector=module": ["detector.model.network._target_=torch.nn.Flatten"],
    "http": ["target.url=http://127.0.0.1/judge", "folder=."],
    "callable": ["target.function._target_=math.sqrt"],
}
MISSING |= {f"to={name}": [] for name in ("exported", "huggingface", "onnx", "torchscript")}  # targets have these names
# Which command has a group, and where.
MOUNTED = {
    "source": ("prepare", "source"),
    "task": ("prepare", "task"),
    "detector": ("train", "detector"),
    "defense": ("train", "defense"),
    "selection": ("train", "selection"),
    "averaging": ("train", "averaging"),
    "trainer": ("train", "trainer"),
    "tracking": ("train", "tracking"),
    "attack": ("sweep", "attack@gallery.attack"),
    "ensemble": ("sweep", "ensemble"),
    "target": ("sweep", "target"),
    "launcher": ("train", "launcher"),
    "to": ("export", "to"),
}
PLUGINS = {  # of Hydra, by launcher
    name: f"hydra_plugins.hydra_{name}_launcher" for name in ("joblib", "ray", "submitit")
}
OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(config_dir().glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "hydra")
]
EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))


def calls(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every ``_target_`` in a container with the arguments beside it."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"], {key: value for key, value in node.items() if not key.startswith("_")}
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from calls(child)


def assert_callable(config: DictConfig) -> None:
    """See that everything a config names exists and knows the arguments beside it."""
    found = list(calls(OmegaConf.to_container(config, resolve=True)))
    for target, arguments in found:
        inspect.signature(get_object(target)).bind_partial(**arguments)


def option(composed: Compose, group: str, name: str) -> DictConfig:
    if group == "launcher" and name in PLUGINS:
        pytest.importorskip(PLUGINS[name], reason=f"launcher={name} needs an extra of pyproject.toml")
    command, mount = MOUNTED[group]
    missing = MISSING.get(f"{group}={name}", MISSING.get(name, []))
    return composed(command, *REQUIRED[command], f"{mount}={name}", *missing)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str, composed: Compose) -> None:
    config = composed(command, *REQUIRED[command])
    assert not OmegaConf.missing_keys(config)
    assert_callable(config)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_composes_and_names_what_there_is(group: str, name: str, composed: Compose) -> None:
    config = option(composed, group, name)
    assert_callable(config)
    check_numbers(config)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_with_a_command(name: str, composed: Compose) -> None:
    fitting = []
    for command, required in REQUIRED.items():
        try:
            fitting.append(composed(command, *required, f"experiment={name}"))
        except ConfigCompositionException:
            continue
    assert fitting
    for config in fitting:
        assert_callable(config)


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_is_built_around_a_detector(name: str, composed: Compose) -> None:
    config = option(composed, "defense", name)
    module = instantiate(config.defense.module, detector=tiny_detector(), classes=3)
    assert isinstance(module, Baseline)
    assert config.defense.name == name


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_built(name: str, composed: Compose) -> None:
    attack = instantiate(option(composed, "attack", name).gallery.attack)
    assert isinstance(attack, TorchAttack)
    assert (attack.name, attack.norm) == (name, "l2" if name.endswith("l2") else "linf")


def test_the_commands_build_what_they_need(composed: Compose, tmp_path: Any) -> None:
    (tmp_path / "photo.png").touch()
    for name in ("simulator", "photos"):
        assert isinstance(instantiate(option(composed, "source", name).source, _convert_="all"), Source)
    prepare, train = composed("prepare"), composed("train", "folder=.", *TINY_DETECTOR, "trainer.accelerator=cpu")
    assert isinstance(instantiate(prepare.patches), Cutter)
    assert isinstance(instantiate(prepare.task, _convert_="all"), Task)
    assert isinstance(instantiate(train.tracking), Tracking)
    trainer = instantiate(train.trainer)
    assert isinstance(trainer, pl.Trainer)
