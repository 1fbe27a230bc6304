"""`python -m workflows` is the `vitlens` command."""

from __future__ import annotations

from workflows.cli import main

if __name__ == "__main__":
    main()
