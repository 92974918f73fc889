"""Benchmarks: what the project claims, printed by a command (``python -m benchmarks``)."""
