from aha.api import Evaluated as Evaluated
from aha.api import Model as Model
from aha.api import Result as Result
from aha.api import answer_of as answer_of
from aha.api import dpo as dpo
from aha.api import evaluate as evaluate
from aha.api import load as load
from aha.api import r1 as r1
from aha.api import reward_model as reward_model
from aha.api import run as run
from aha.api import sft as sft
from aha.api import zero as zero

__version__: str
TORCHS_ENVIRONMENT: dict[str, str]
