"""Stages that make training data."""
