"""What finished and running runs say side by side: compared with each other, and graded anew by other rewards."""

from aha.analysis.compare import RunComparison, compare
from aha.analysis.rescore import Rescored, rescore

__all__ = ["Rescored", "RunComparison", "compare", "rescore"]
