"""Padding-free attention for transformers' own modules: who sees whom, the products, and the door between.

``plan.py`` lays sequences out, ``packed.py`` computes, on GPUs by ``varlen.py`` where torch's flash attention passes
its trial, ``shared.py`` divides a batch over ranks, ``models.py`` routes a model's attention here after trying out
that the model is one of those that can be computed so, ``modules.py`` gives its norms and feed-forward their kernels.
"""

from aha.attention.context_parallel import Exchange, divided
from aha.attention.continued import Continued
from aha.attention.layer_trial import TrialLayer
from aha.attention.layout import Bucket, Plan, make_plan, piece_length
from aha.attention.models import IMPLEMENTATION, install, layers
from aha.attention.modules import to_torch
from aha.attention.packed import PLAIN, WAYS, AttentionContext, Packed, Variant, probabilities

__all__ = [
    "IMPLEMENTATION",
    "PLAIN",
    "WAYS",
    "AttentionContext",
    "Bucket",
    "Continued",
    "Exchange",
    "Packed",
    "Plan",
    "TrialLayer",
    "Variant",
    "divided",
    "install",
    "layers",
    "make_plan",
    "piece_length",
    "probabilities",
    "to_torch",
]
