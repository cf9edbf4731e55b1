"""What an error answer means: the row of every driver's table of codes. Pure."""

from typing import NamedTuple

from objfs import errors


class Meaning(NamedTuple):
    """What an answer means: the class to raise, a few words for the message, what to do."""

    error: type[errors.ObjfsError]
    text: str
    remedy: str = ""
    quote: bool = False
    """The server's own sentence is worth showing."""
