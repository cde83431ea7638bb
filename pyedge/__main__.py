"""`python -m pyedge`: the same as the `pyedge` command."""

from .cli import main

if __name__ == "__main__":
    main()
