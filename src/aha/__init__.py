"""aha: from a base language model to a reasoning model, the way DeepSeek-R1 was trained."""

import os as _os

SPINS = "3000"
"""Turns that a thread of torch's waits for the others before it sleeps, some ten microseconds; GNU OpenMP's own 300,000
keep a core that another program could use. On two cores with six programs beside it, products by two threads were 4
times as fast so."""
if "OMP_WAIT_POLICY" not in _os.environ:
    _os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, when torch is loaded

__version__ = "0.1.0"
