"""Whatever a network returns becomes a logit for each class, or is refused with the reason."""

import pytest
import torch
from torch import Tensor

from advforensics.detectors.logits import UnfitError
from advforensics.targets.answers import Answers, Kind, matched

LABELS, CLASSES = ("Human", "AI generated"), ("real", "fake")
MAPPING = {"fake": ["ai-generated"], "real": ["human"]}


def probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        ("logits", torch.tensor([[0.0, 2.0], [0.0, -1.0]])),
        ("logit", torch.tensor([2.0, -1.0])),
        ("logit", torch.tensor([[2.0], [-1.0]])),
        ("probabilities", torch.tensor([[0.0, 2.0], [0.0, -1.0]]).softmax(dim=1)),
        ("probability", torch.tensor([2.0, -1.0]).sigmoid()),
        ("probability", torch.tensor([[2.0], [-1.0]]).sigmoid()),
    ],
)
def test_every_kind_of_answer_gives_the_same_probabilities(kind: Kind, outputs: Tensor) -> None:
    logits = Answers(kind, LABELS, CLASSES, MAPPING)(outputs)
    torch.testing.assert_close(probabilities(logits), torch.tensor([[0.0, 2.0], [0.0, -1.0]]).softmax(dim=1))


def test_labels_are_matched_by_name_whatever_their_order() -> None:
    logits = Answers("logits", ("fake", "Real"), ("real", "fake"))(torch.tensor([[1.0, 2.0]]))
    assert logits.tolist() == [[2.0, 1.0]]


def test_several_labels_of_one_class_count_together() -> None:
    outputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    logits = Answers("logits", ("art", "real", "deepfake"), CLASSES, {"real": ["real"], "fake": ["art", "deepfake"]})(
        outputs
    )
    expected = outputs.softmax(dim=1)
    torch.testing.assert_close(probabilities(logits)[:, 1], expected[:, 0] + expected[:, 2])


def test_a_label_alone_is_an_answer_without_a_gradient() -> None:
    logits = Answers("label", LABELS, CLASSES, MAPPING)(torch.tensor([1, 0]))
    assert logits.argmax(dim=1).tolist() == [1, 0]
    assert not logits.requires_grad


def test_a_sure_answer_stays_finite() -> None:
    logits = Answers("probability", LABELS, CLASSES, MAPPING)(torch.tensor([0.0, 1.0]))
    assert torch.isfinite(logits).all()
    assert logits.argmax(dim=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("kind", "outputs", "reason"),
    [
        ("probabilities", torch.tensor([[0.5, 1.5]]), "no probabilities: give target.answers=logits"),
        ("probabilities", torch.tensor([[0.5, 0.9]]), "do not sum to 1"),
        ("probability", torch.tensor([-0.5]), "target.answers=logit"),
        ("logits", torch.zeros(3, 5), r"returns \(3, 5\).*name all that it tells apart with target.labels"),
        ("logits", torch.zeros(3), "target.answers=logit or target.answers=probability"),
        ("label", torch.tensor([2]), "labels that are not 0 to 1"),
        ("label", torch.tensor([0.5]), "labels that are not 0 to 1"),
    ],
)
def test_outputs_that_are_not_what_was_said_are_refused(kind: Kind, outputs: Tensor, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        Answers(kind, LABELS, CLASSES, MAPPING)(outputs)


@pytest.mark.parametrize(
    ("labels", "mapping"),
    [
        (("artificial", "human"), None),  # other names
        (("real", "fake", "unsure"), None),  # a label that means nothing
        (("art", "human"), {"fake": ["art"]}),  # a class without a label
        (("art", "human"), {"fake": ["art", "human"], "real": ["human"]}),  # a label twice
        (("art", "human"), {"fake": ["art"], "real": ["humane"]}),  # misspelt
        (("art", "human"), {"fake": ["art"], "real": ["human"], "other": []}),  # no such class
    ],
)
def test_what_does_not_match_shows_both_lists(labels: tuple[str, ...], mapping: dict[str, list[str]] | None) -> None:
    with pytest.raises(ValueError, match=f"labels are {', '.join(labels)}; the classes are real, fake.*target.classes"):
        matched(labels, CLASSES, mapping)


def test_one_number_needs_two_labels_and_kinds_are_listed() -> None:
    with pytest.raises(ValueError, match="where the number is that of B"):
        Answers("logit", ("a", "b", "c"), ("a", "b", "c"))
    with pytest.raises(ValueError, match="logits, probabilities, logit, probability, label"):
        Answers("scores", LABELS, CLASSES, MAPPING)  # type: ignore[arg-type]
