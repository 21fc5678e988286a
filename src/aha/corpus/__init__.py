"""The text that the embedded bases learn from, and their tokenizer: all written by a program."""
