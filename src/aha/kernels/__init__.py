"""Compiled kernels for CPUs: what lies between a model's products, in one pass each.

They are compiled on the machine at their first use. Everything here has a way through torch's operators too,
which is taken on other devices, for other types, and where there is no compiler.
"""

from aha.kernels.attention import PrefixGroups, attend, can_attend
from aha.kernels.build import advice, compiled
from aha.kernels.decode import DecodeStep, Groups, Weights, WholeStep, can_decode
from aha.kernels.dispatch import matrix_units, takes, vectors, version, without
from aha.kernels.elementwise import rms_norm, rotate, swiglu
from aha.kernels.fused_linear import align, join, joined, linear, plain, swiglu_linear, turned_linears
from aha.kernels.head import (
    can_draw,
    can_fuse,
    can_project,
    can_score,
    draw,
    pick,
    project,
    project_gradient,
    project_score,
    score,
    score_gradient,
)
from aha.kernels.products import by_kernel, product, weight_gradient

__all__ = [
    "DecodeStep",
    "Groups",
    "PrefixGroups",
    "Weights",
    "WholeStep",
    "advice",
    "align",
    "attend",
    "by_kernel",
    "can_attend",
    "can_decode",
    "can_draw",
    "can_fuse",
    "can_project",
    "can_score",
    "compiled",
    "draw",
    "join",
    "joined",
    "linear",
    "matrix_units",
    "pick",
    "plain",
    "product",
    "project",
    "project_gradient",
    "project_score",
    "rms_norm",
    "rotate",
    "score",
    "score_gradient",
    "swiglu",
    "swiglu_linear",
    "takes",
    "turned_linears",
    "vectors",
    "version",
    "weight_gradient",
    "without",
]
