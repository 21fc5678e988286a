"""A client of OpenAI-compatible endpoints: one request, its cost, and an engine over it."""
