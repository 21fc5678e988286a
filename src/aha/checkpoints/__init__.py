"""Checkpoints as people bring them: public ones of the package index, GGUF files, and what is wrong with others."""
