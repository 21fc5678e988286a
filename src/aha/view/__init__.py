"""``aha view``: a local web page over a folder of runs.

``server`` puts the parts together; ``guard`` lets in whom the command let in; ``shelf`` knows the runs, ``growing`` and
``curves`` their figures, ``graph`` their stages; ``index/`` finds rollouts; ``chain`` and ``why`` show one;
``notes`` is all that is written; ``tabs`` are findings in words and tables. The page itself lies in ``static/``.
"""
