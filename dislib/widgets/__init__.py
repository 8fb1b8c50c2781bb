"""Widgets to play with.

*Same latent*, a guessing game; *Paint the latent*, sliders on the initial latent; *Forward process*, a picture on its
way into white and into style noise; *Style mixer*, weights for the mean and the spread of several priors.

Whatever they compute is a plain function; callbacks only call it.
"""

from .forward_process import ForwardProcess
from .paint_latent import PaintTheLatent
from .same_latent import SameLatent
from .style_mixer import StyleMixer

__all__ = ["ForwardProcess", "PaintTheLatent", "SameLatent", "StyleMixer"]
