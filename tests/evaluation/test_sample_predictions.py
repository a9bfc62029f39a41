"""A row tells what is predicted for a picture, and its distance from the image."""

import numpy as np
import pandas as pd
import pytest
import torch

from advforensics.attacks.threat_model import LEVEL
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.sample_predictions import sample_predictions


def test_predictions_and_distances_are_those_of_the_pictures() -> None:
    targets = EvaluationSet(torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 2]), ["a", "b", "c"], ["p", "p", "q"])
    pictures = targets.images.clone()
    pictures[1, 0, 0, 0] += 2 * LEVEL
    pictures[2] -= LEVEL
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.2, 0.1, 0.7]])
    rows = sample_predictions(targets, pictures, probabilities.log())
    assert rows["sample_id"].tolist() == targets.sample_ids
    assert rows["group"].tolist() == targets.groups
    assert rows["label"].tolist() == [0, 1, 2]
    assert rows["predicted"].tolist() == [0, 0, 2]
    assert rows["correct"].tolist() == [True, False, True]
    assert rows["margin"].tolist() == pytest.approx(torch.tensor([5 / 3, 1 / 6, 7 / 2]).log().tolist())
    expected = {
        "score": np.log([1, 0.4 / 0.6, 4]),
        "linf_levels": [0, 2, 1],
        "rms_levels": [0, 1, 1],
        "l2": [0, 2 * LEVEL, 2 * LEVEL],
    }
    pd.testing.assert_frame_equal(
        rows[[*expected]].astype(float), pd.DataFrame(expected).astype(float), rtol=1e-4, atol=1e-6
    )


def test_scores_differ_where_float32_probabilities_do_not() -> None:
    targets = EvaluationSet(torch.zeros(4, 1, 2, 2), torch.ones(4, dtype=torch.int64), list("abcd"), list("abcd"))
    logits = torch.tensor([[0.0, 18.0, -9.0], [0.0, 100.0, -9.0], [18.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    scores = sample_predictions(targets, targets.images, logits)["score"]
    assert scores.tolist() == pytest.approx([18, 100, np.log(2) - 18, np.log(2) - 100], rel=1e-6)
