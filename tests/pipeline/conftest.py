"""The shipped mini teacher, its samples of a few hard problems, and their cuts."""

import pytest

from heal.config.data import Dataset
from heal.data.load_problems import load
from heal.engines.transformers import TransformersEngine
from heal.method import gear
from heal.pipeline.grade import grade_samples
from heal.pipeline.runner import get_token_texts
from heal.pipeline.sample import make_sampler
from heal.pipeline.verdict import get_question
from tests.support.mini_teacher import GEAR, SAMPLING, SEED
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(str(ROOT / "heal/worlds/mini/models/teacher"), batch_size=64, threads=1)


@pytest.fixture(scope="module")
def problems():
    return load(Dataset(source="mini", split="hard", n=10), 0)


@pytest.fixture(scope="module")
def sample_batch(engine):
    """Samples a batch of problems as `heal sample base` does."""
    return make_sampler(engine, SAMPLING, (*SEED, "base"), range(SAMPLING.n), get_question)


@pytest.fixture(scope="module")
def samples(sample_batch, problems):
    return sample_batch(problems)[0]


@pytest.fixture(scope="module")
def cuts(engine, problems, samples):
    grades = grade_samples(problems, samples)
    get_texts = get_token_texts(engine)
    cuts = gear.select_cuts(problems, samples, grades, get_texts, GEAR, 0)
    return [gear.build_cut_row(cut, GEAR, get_texts) for cut in cuts]
