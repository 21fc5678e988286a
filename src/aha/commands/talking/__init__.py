"""The parts of `aha chat`: how lines are read, how an answer streams, and how two models are asked at once."""
