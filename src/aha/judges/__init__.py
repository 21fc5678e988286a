"""Who judges where no rule can: a model behind an endpoint, or in the miniature a program that knows the rubric.

Both are asked by the same prompts through the same interface and read by the same parser: ``asking`` cannot
tell them apart.
"""
