"""The shipped mini teacher, its samples of a few hard problems, and their cuts."""

import pytest

from heal.config.data import Dataset
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.method import gear
from heal.pipeline import sample
from heal.pipeline.grade import grade
from heal.pipeline.runner import pieces
from tests.support.mini_teacher import GEAR, SAMPLING, SEED
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(str(ROOT / "heal/worlds/mini/models/teacher"), batch_size=64, threads=1)


@pytest.fixture(scope="module")
def problems():
    return load(Dataset(split="hard", n=10), 0)


@pytest.fixture(scope="module")
def samples(engine, problems):
    draw = sample.sampler(engine, SAMPLING, (*SEED, "base"), range(SAMPLING.n), lambda problem: problem["question"])
    return draw(problems)[0]


@pytest.fixture(scope="module")
def cuts(engine, problems, samples):
    return gear.plan(problems, samples, grade(problems, samples), lambda row: pieces(engine, row["token_ids"]), GEAR, 0)
