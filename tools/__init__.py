"""What keeps the course in step: the address, the notebooks, the records, the benchmarks. Not in the wheel."""
