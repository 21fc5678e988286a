"""Stages that learn from given sequences."""
