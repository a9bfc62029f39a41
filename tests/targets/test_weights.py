"""Weights are read in every usual form, all of them and nothing else; what does not fit is listed."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from advforensics.targets.weights import load_weights


def network(seed: int, width: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(2)).eval()


@pytest.fixture
def trained() -> nn.Sequential:
    net = network(0).train()
    net(torch.rand(4, 1, 8, 8))
    return net.eval()


def same(net: nn.Module, other: nn.Module) -> bool:
    pairs = zip(net.state_dict().items(), other.state_dict().items(), strict=True)
    return all(one[0] == two[0] and torch.equal(one[1], two[1]) for one, two in pairs)


def fresh() -> nn.Sequential:
    net = network(1)
    net(torch.rand(1, 1, 8, 8))
    return net


FORMS: dict[str, Any] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "net": lambda state: {"net": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "of DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "of Lightning": lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
    "twice": lambda state: {"model": {f"module.model.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_is_read(form: str, trained: nn.Sequential, tmp_path: Path) -> None:
    torch.save(FORMS[form](trained.state_dict()), tmp_path / "weights.pt")
    net = fresh()
    assert not same(net, trained)
    load_weights(net, tmp_path / "weights.pt")
    assert same(net, trained)


def test_safetensors_are_read(trained: nn.Sequential, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({f"module.{name}": value for name, value in trained.state_dict().items()}, path)
    net = fresh()
    load_weights(net, path)
    assert same(net, trained)
    path.write_text("hello")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(net, path)


def test_counters_of_batches_may_be_missing(trained: nn.Sequential, tmp_path: Path) -> None:
    state = {name: value for name, value in trained.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "weights.pt")
    net = fresh()
    load_weights(net, tmp_path / "weights.pt")
    assert torch.equal(net[1].running_mean, trained[1].running_mean)  # type: ignore[arg-type]


def test_what_does_not_fit_is_listed(trained: nn.Sequential, tmp_path: Path) -> None:
    state = dict(trained.state_dict())
    state["head.weight"] = state.pop("3.bias")
    state["0.weight"] = state["0.weight"][:2]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(
        ValueError, match=r"do not fit Sequential: 1 missing \(3\.bias\); 1 unknown \(head\.weight\)"
    ) as e:
        load_weights(fresh(), tmp_path / "weights.pt")
    assert "1 of another shape (0.weight (2, 1, 3, 3) for (3, 1, 3, 3))" in str(e.value)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"lr": 0.1}}])
def test_a_file_without_weights_says_what_it_holds(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="no state dict, bare or under state_dict, model_state_dict, model, net, but"):
        load_weights(fresh(), tmp_path / "weights.pt")
