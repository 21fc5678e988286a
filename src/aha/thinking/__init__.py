"""Longer thinking at test time: the same model asked for more, each way reported against the tokens that it spends.

``writing``: completions and what is appended to them. ``votes``, ``forcing``, ``refining``, ``lengths``, ``search``:
the ways. ``session``: one model on one task, kept problem by problem. ``figures``: accuracy over tokens; ``training``:
accuracy over training compute beside it; ``page``: both as one page.
"""
