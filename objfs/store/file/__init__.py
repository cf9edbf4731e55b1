"""The embedded store: a bucket in a local folder, `file:///path[/prefix]`, with every key legal.

    FOLDER/index.sqlite     which object is which blob (`index`, read page by page in `scan`)
    FOLDER/blobs/xx/ID      the bytes; a blob is written once, never changed (`blobs`)
    FOLDER/sessions/ID/     what one living process has not committed yet (`blobs`)
    FOLDER/lock             held for a moment while a process joins or cleans up (`layout`)

Several processes may use one store at once. How a put survives `kill -9` at any instant, without
losing what it acknowledged and without leaving a blob behind for ever, is told in `blobs`.
The folder must be on a local file system: SQLite's WAL needs shared memory, which NFS has not.
"""

from objfs.store.file.driver import FileStore

__all__ = ["FileStore"]
