"""Classic bugs, each planted by changing the real modules. ``BUGS``: name -> (plant, check that must see it)."""

from __future__ import annotations

import bugs_in_data
import bugs_in_training
from bug_forms import BUGS, TOKENIZER

__all__ = ["BUGS", "TOKENIZER", "bugs_in_data", "bugs_in_training"]
