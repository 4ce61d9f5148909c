"""Names of trace files follow from the options that made them."""

from heal.trace_files import files
from tests.support.trace_folder import EXPERIMENT


def test_other_options_have_other_files():
    gear = EXPERIMENT.gear
    assert files.repairs(gear) == files.repairs(gear.model_copy())
    assert files.repairs(gear) != files.repairs(gear.model_copy(update={"rewind": 2}))
