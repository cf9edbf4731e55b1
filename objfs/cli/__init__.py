"""The command line: `objfs mount`, `objfs umount`, and what mount(8) calls."""

from objfs.cli.main import main

__all__ = ["main"]
