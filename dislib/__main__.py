"""`python -m dislib`: see `dislib.cli.main`."""

from dislib.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
