"""Padding-free attention for transformers' own modules: who sees whom, the products, and the door between.

``plan.py`` lays sequences out, ``packed.py`` computes, ``models.py`` routes a model's attention here after
trying out that the model is one of those that can be computed so.
"""

from aha.attention.continued import Continued
from aha.attention.models import Layer, install, layers
from aha.attention.packed import PLAIN, Context, Packed, Variant, probabilities
from aha.attention.plan import Bucket, Plan, make_plan, piece_length

__all__ = [
    "PLAIN",
    "Bucket",
    "Context",
    "Continued",
    "Layer",
    "Packed",
    "Plan",
    "Variant",
    "install",
    "layers",
    "make_plan",
    "piece_length",
    "probabilities",
]
