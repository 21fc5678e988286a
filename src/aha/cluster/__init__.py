"""Work over several processes and machines, through Ray: rollout workers, reward workers, and what guards them.

Ray itself is imported in ``connect.py`` alone, when a cluster is asked for.
"""
