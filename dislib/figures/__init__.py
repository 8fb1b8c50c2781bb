"""Figures of the course: pictures in rows, curves and bars, each with a text for those who cannot see it."""
