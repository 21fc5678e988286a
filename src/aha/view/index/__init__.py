"""Finds rollouts among millions: an SQLite index of the rollout files of a run, in the user's cache.

The files stay the truth: the index holds where each row stands, its figures, and which words its text has (FTS5,
without the text itself). It can be deleted at any time. ``words`` says what a word is, ``tables`` the layout,
``building`` reads what is new in the files, ``asked`` and ``searching`` find rows, ``keeper`` decides when and where it
is brought up to date.
"""
