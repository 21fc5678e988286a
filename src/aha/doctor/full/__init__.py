"""Checks that drive a whole stage, or several processes. They stand above the stages."""
