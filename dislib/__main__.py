"""`python -m dislib`: see `dislib.cli.main`."""

import os

# Read when torch is loaded: its threads wait without keeping a core busy, or a second program makes all seven times
# slower. Whoever has set it keeps it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dislib.cli.main import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
