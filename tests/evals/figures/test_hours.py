"""Hours add up over the parts of a run, and descriptions of results are left out."""

from __future__ import annotations

import pandas as pd
import pytest

from evals.figures.hours import plot_hours, sum_hours
from heal.errors import HealError
from tests.support.ledger import WORK, make_ledger


def test_hours_add_up_and_descriptions_of_results_are_left_out():
    numbers = sum_hours(make_ledger(2))
    assert numbers["part"].tolist() == ["samples", "extra", "repairs", "passes", "students", "evals"]
    assert numbers["jobs"].tolist() == [2, 1, 1, 1, 1, 1]
    assert numbers["seconds"].sum() == make_ledger(2)["seconds"][: len(WORK)].sum()
    shuffled = sum_hours(make_ledger(2).sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, numbers)


def test_gpu_hours_are_shown_where_gpus_were_leased():
    assert len(plot_hours(sum_hours(make_ledger(2))).axes) == 2
    assert len(plot_hours(sum_hours(make_ledger(0))).axes) == 1


@pytest.mark.parametrize("ledger", [make_ledger(0)[len(WORK) :], pd.DataFrame()])
def test_a_run_without_work_is_refused(ledger):
    with pytest.raises(HealError, match="no provenance"):
        sum_hours(ledger)
