"""Widgets to play with.

*Same latent*, a guessing game; *Paint the latent*, sliders on the initial latent; *Forward process*, a picture on its
way into white and into style noise; *Style mixer*, weights for the mean and the spread of several priors; *Guidance
strip*, all methods at one guidance weight; *FID liar*, FID of N faultless pictures; *Which is closer?*, a blind vote; *Will it
fit?*, the memory of a training; *Design a style*, a look in six numbers; *Your pictures*, drawn or uploaded.

Whatever they compute is a plain function; callbacks only call it.
"""

from .design_style import DesignStyle
from .fid_liar import FidLiar
from .forward_process import ForwardProcess
from .guidance_strip import GuidanceStrip
from .paint_latent import PaintTheLatent
from .same_latent import SameLatent
from .style_mixer import StyleMixer
from .vote import WhichIsCloser
from .will_it_fit import WillItFit
from .your_pictures import YourPictures

__all__ = [
    "DesignStyle",
    "FidLiar",
    "ForwardProcess",
    "GuidanceStrip",
    "PaintTheLatent",
    "SameLatent",
    "StyleMixer",
    "WhichIsCloser",
    "WillItFit",
    "YourPictures",
]
