"""The paper's claims over finished runs."""
