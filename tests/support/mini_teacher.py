"""Options with which the pipeline's tests ask the shipped mini teacher."""

from heal.config.experiment import Gear, Sampling

SAMPLING = Sampling(n=4, max_new_tokens=160)
GEAR = Gear(min_step_tokens=1, traces_per_problem=2, repairs_per_trace=3, max_wrong_agreement=1.0)
SEED = (0, 0)
