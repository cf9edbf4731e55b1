"""objfs: mount object storage as a drive.

The map of the program; data flows one way:

    kernel -> fuse -> filesystem -> tree (names) + cache (bytes) -> store

- `cli`, `daemon`: arguments, exit codes, signals; build every object once.
- `fuse`: the kernel's protocol to our values and back; errors become errnos here and only here.
- `filesystem`, `handles`, `refresh`: what open, rename and unlink mean.
- `tree`: names. Pure: keys <-> paths, inode numbers, how long an answer is believed.
- `cache`: bytes on the local disk. `reads` holds disposable copies, `spool` the precious drafts.
- `store`: one small driver for each product and one `Bucket` above them that is clever once.
- `types`, `errors`, `config`: values that everybody may import.

The one rule: state is sync, I/O is async. A class that owns shared mutable state has only
synchronous methods, so under trio each of them is atomic; a coroutine holds only locals across an
`await`, and asks again after it. Imports point down; `tests/test_layers.py` enforces it.
"""

__version__ = "0.1.0"
