"""The commands of `python -m dislib`."""
