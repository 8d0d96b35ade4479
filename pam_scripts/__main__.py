"""`python -m pam_scripts`."""

from __future__ import annotations

from pam_scripts.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
