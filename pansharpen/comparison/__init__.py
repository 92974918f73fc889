"""The benchmark: cases, cells, judging, table and report."""
