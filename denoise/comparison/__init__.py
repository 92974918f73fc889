"""The benchmark: cases, peers, report."""
