"""Bytes on the local disk: `reads` may lose everything at any time, `spool` nothing, ever."""
