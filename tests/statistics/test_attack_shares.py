"""Attack shares count every image once: as standing, wrong when clean, or fallen to one attack."""

import pandas as pd
import pytest
from tables import sample_table

from advforensics.statistics.attack_shares import CLEAN, STANDS, attack_shares

CURVE = ["defense", "norm", "domain", "eps_levels"]


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(
        attacks=("pgd", "fgsm", "square", "pgd_l2", "postprocessing"),
        defenses=("baseline", "mine"),
        seeds=(1, 2),
        domains=("8bit",),
    )


def test_shares_add_up_to_one_and_the_share_that_stands_is_robust_accuracy(samples: pd.DataFrame) -> None:
    shares = attack_shares(samples)
    assert shares.groupby(CURVE)["share"].sum().to_numpy() == pytest.approx(1)
    last = samples[samples["attack"].isin(["square", "pgd_l2"])]
    stands = shares[shares["fell_to"] == STANDS].set_index(CURVE)["share"]
    pd.testing.assert_series_equal(stands.sort_index(), last.groupby(CURVE)["correct"].mean(), check_names=False)
    assert (shares[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)


def test_attacks_keep_the_order_of_the_cascade_and_postprocessing_is_left_out(samples: pd.DataFrame) -> None:
    names = list(attack_shares(samples)["fell_to"].unique())
    assert sorted(names) == sorted([STANDS, CLEAN, "pgd", "fgsm", "square", "pgd_l2"])
    assert [name for name in names if name != "pgd_l2"] == [STANDS, CLEAN, "pgd", "fgsm", "square"]


def test_an_image_falls_to_the_attack_named_in_its_row_or_else_to_the_attack_of_the_row() -> None:
    samples = sample_table(photographs=2, patches=1, eps=(0, 1))
    samples = samples.assign(correct=samples["eps_levels"] == 0, fell_to="")
    samples.loc[(samples["eps_levels"] == 1) & (samples["sample_id"] == "s00001"), "fell_to"] = "8bit"
    shares = attack_shares(samples)
    at_one = shares[(shares["eps_levels"] == 1) & (shares["share"] > 0)]
    assert at_one.set_index("fell_to")["share"].to_dict() == {"fgsm": 0.5, "8bit": 0.5}


def test_an_attack_of_one_domain_only_keeps_its_place_in_the_order() -> None:
    floats, whole = (sample_table(attacks=("fgsm", "pgd", "square"), domains=(name,)) for name in ("float", "8bit"))
    shares = attack_shares(pd.concat([whole[whole["attack"] != "fgsm"], floats]))
    assert list(shares["fell_to"].unique()) == [STANDS, CLEAN, "fgsm", "pgd", "square"]
