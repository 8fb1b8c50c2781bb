"""`python -m dislib`: see `dislib.cli`."""

from dislib.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
