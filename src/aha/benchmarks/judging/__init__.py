"""Benchmarks that a judge grades: by a reference answer, or by comparing with another model's answers.

``rows`` and ``tasks``: SimpleQA, FRAMES, AlpacaEval 2, Arena-Hard. ``figures``: theirs; ``length_controlled``:
AlpacaEval's regression. ``beside``: judges are asked while sampling goes on.
"""
