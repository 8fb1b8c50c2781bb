"""LoRA with peft on machines where an old torchao lies beside it, as on Colab.

peft asks for torchao before it looks at a layer, and where it finds an old release it refuses every LoRA, though none
of ours has anything to do with torchao. Nothing of the user's is changed: peft is told, for as long as it works for
us, that there is no torchao.
"""

import contextlib
import importlib.metadata
import sys


@contextlib.contextmanager
def torchao_put_aside():
    """While this lasts, peft does without a torchao that it would refuse; one that it takes is left to it."""
    import peft  # noqa: F401  so that its modules are there

    name = "is_torchao_available"
    modules = [m for key, m in list(sys.modules.items()) if key.partition(".")[0] == "peft" and name in vars(m)]
    before = [vars(module)[name] for module in modules]
    if not refused_torchao():
        modules = []
    try:
        for module in modules:
            setattr(module, name, lambda: False)
        yield
    finally:
        for module, function in zip(modules, before):
            setattr(module, name, function)


def refused_torchao():
    """The version of a torchao that peft refuses; None where there is none, or one that it takes."""
    from peft import import_utils

    try:
        getattr(import_utils, "is_torchao_available", bool)()
    except ImportError:
        return importlib.metadata.version("torchao")
    return None
