"""The recipes on the new world: ``python -m recipes.next NAME``, with the options of ``python -m recipes``."""

from recipes.__main__ import main

main()
