"""How the shipped model, its judge and the results were made, one command each: `python -m recipes NAME`."""

import dislib  # noqa: F401  first of all: it keeps transformers from speaking of what nobody here uses
