"""vLLM in a process of its own. The worker imports what needs no more than numpy and torch: keep this file empty."""
