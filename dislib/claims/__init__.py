"""What the lessons claim, each as a function: a number, the threshold it has to pass, and a negative control.

A claim measures its own threshold and its own control on the data it is given; none of them is typed in. It holds if
the number passes and the control does not: where the control passes too, the number proves nothing.
The lessons print these claims and the tests assert them.
"""

from .claim import Claim, _above, _below
from .lesson_01 import (
    claim_blob_moves_thing,
    claim_constant_moves_colour,
    claim_name_the_seed,
    claim_plain_starts_are_middling,
    claim_readable_leak,
    claim_seed_share,
    claim_shuffled_is_chance,
)
from .lesson_02 import (
    claim_band_in_mean,
    claim_error_shrinks,
    claim_prior_mean_not_zero,
    claim_prior_shows_palette,
    claim_prompt_survives,
    claim_start_brings_style,
)
from .lesson_03 import claim_colour_hangs_on_seed, claim_nearer_to_style, claim_own_leak

__all__ = [
    "Claim",
    "_above",
    "_below",
    "claim_band_in_mean",
    "claim_blob_moves_thing",
    "claim_colour_hangs_on_seed",
    "claim_constant_moves_colour",
    "claim_error_shrinks",
    "claim_name_the_seed",
    "claim_nearer_to_style",
    "claim_own_leak",
    "claim_plain_starts_are_middling",
    "claim_prior_mean_not_zero",
    "claim_prior_shows_palette",
    "claim_prompt_survives",
    "claim_readable_leak",
    "claim_seed_share",
    "claim_shuffled_is_chance",
    "claim_start_brings_style",
]
