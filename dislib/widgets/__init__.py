"""Widgets to play with.

*Same latent*, a guessing game; *Paint the latent*, sliders on the initial latent; *Forward process*, a picture on its
way into white and into style noise; *How many images*, the mean and spread of n pictures; *Style mixer*, weights for
the mean and the spread of several priors; *Guidance strip*, all methods at one guidance weight; *FID liar*, FID of N
faultless pictures; *Which is closer?*, a blind vote; *From style to style*, a slider along the Wasserstein line between
two priors; *Will it fit?*, the memory of a training; *Design a style*, a look in six numbers; *Your pictures*, drawn or
uploaded.

Whatever they compute is a plain function; callbacks only call it.
"""

from .design_style import DesignStyle
from .fid_liar import FidLiar
from .forward_process import ForwardProcess
from .guidance_strip import GuidanceStrip
from .how_many import HowManyImages
from .paint_latent import PaintTheLatent
from .same_latent import SameLatent
from .style_line import StyleLine
from .style_mixer import StyleMixer
from .vote import WhichIsCloser
from .will_it_fit import WillItFit
from .your_pictures import YourPictures

__all__ = [
    "DesignStyle",
    "FidLiar",
    "ForwardProcess",
    "GuidanceStrip",
    "HowManyImages",
    "PaintTheLatent",
    "SameLatent",
    "StyleLine",
    "StyleMixer",
    "WhichIsCloser",
    "WillItFit",
    "YourPictures",
]
