"""Audit tables of two teacher sampling seeds."""

from __future__ import annotations

import math

import pandas as pd

from evals.audits import run as audits


def make_audit_rows(**values: tuple[float, float, float]) -> pd.DataFrame:
    """Audits of one teacher seed: quantity → value, low, high; those named distance_… are bars of the histogram."""
    rows = [
        ["cut", "v-1", name.replace("distance_m", "distance -").replace("distance_p", "distance +"), *interval, 10, "p"]
        for name, interval in values.items()
    ]
    return pd.DataFrame(rows, columns=audits.COLUMNS)


ONE = make_audit_rows(
    exact=(0.5, 0.3, 0.7), after=(0.1, 0.0, 0.2), distance_p1=(0.5, 0.2, 0.8), distance_m1=(0.5, 0.1, 0.9)
)
TWO = make_audit_rows(exact=(0.7, 0.6, 0.8), after=(math.nan,) * 3, distance_p1=(1.0, 0.8, 1.0))
