"""Benchmarks whose questions have several turns: asked one after another (``asking``), what was said kept (``saying``),
graded turn by turn (``grading``), counted (``figures``)."""
