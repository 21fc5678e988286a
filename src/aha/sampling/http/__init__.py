"""The server's side of the OpenAI API: what a local model or a program of ours looks like to a client."""

from aha.sampling.http.programs import Program, Programs
from aha.sampling.http.server import Server

__all__ = ["Program", "Programs", "Server"]
