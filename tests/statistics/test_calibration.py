"""Calibration by temperature."""

import numpy as np
import pytest

from advforensics.statistics.calibration import probabilities, temperature


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_the_temperature_undoes_a_scale(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 3))
    chances = probabilities(logits)
    labels = (rng.uniform(size=(len(logits), 1)) > chances.cumsum(axis=1)).sum(axis=1)
    fitted = temperature(factor * logits, labels)
    assert fitted == pytest.approx(factor, rel=0.05)
    np.testing.assert_allclose(probabilities(factor * logits, fitted), chances, atol=0.02)


def test_it_is_finite_where_all_answers_are_right() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 2.0]])
    assert 0 < temperature(logits, [0, 1]) < 1
    np.testing.assert_allclose(probabilities(logits).sum(axis=1), 1)
