"""Why is my reward flat? What is wrong with a run, in words with evidence, samples and the setting to change.

``diagnose(RUN)`` looks at a run folder; ``Monitor`` finds the same while a run is trained.
"""

from aha.diagnosis.diagnose import diagnose
from aha.diagnosis.findings import Diagnosis, Illness, ShownRollout

__all__ = ["Diagnosis", "Illness", "ShownRollout", "diagnose"]
