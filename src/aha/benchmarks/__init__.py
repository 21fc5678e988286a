"""Evaluation over many models and benchmarks: benchmarks with their published figures, graded records that a killed
evaluation resumes from, statistics over problems, and the formats that others read."""
