"""``python -m aha``."""

from aha.cli import command

if __name__ == "__main__":
    command()
