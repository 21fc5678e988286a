"""Proves on this very machine, with this model and this engine, that sampling and training are right.

Each check runs the real code path and compares it with an independent computation: transformers' own
forward pass one sequence at a time, plain loops in float64, finite differences. The modules here sit below
the stages, so that every run can examine itself as it starts; those in ``full`` drive a whole stage.
"""
