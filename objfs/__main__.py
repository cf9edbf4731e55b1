"""`python -m objfs` is the `objfs` command."""

from objfs.cli import main

if __name__ == "__main__":
    main()
