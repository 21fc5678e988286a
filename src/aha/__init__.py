"""aha: from a base language model to a reasoning model, the way DeepSeek-R1 was trained."""

__version__ = "0.1.0"
