"""Lesson 00, the whole way in ten minutes: it needs one claim of lesson 02."""

from .lesson_02 import claim_prior_mean_not_zero
