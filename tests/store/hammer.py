"""A process that works on an embedded store; `test_file` runs several at once and kills them.

    python -m tests.store.hammer FOLDER NAME SECONDS own|shared

Each acknowledged write is a line on stdout, `KEY NUMBER`, written after the driver came back. With
"own" keys nobody else writes them, so the last line of a key says what it must hold, or what the
write after it, under way at the kill, has made of it.
"""

import hashlib
import os
import random
import sys
import time
from pathlib import Path

from objfs.errors import NotFound, PreconditionFailed
from objfs.store.file import FileStore
from objfs.types import ABSENT, Expect, Headers

KEYS = 5


def body_of(key: str, number: int) -> bytes:
    """What write `number` of `key` stores; every eighth is empty."""
    seed = f"{key} {number}".encode()
    return b"" if number % 8 == 0 else seed * (1 + number % 7 * 100)


def own_keys(store: FileStore, name: str, end: float) -> None:
    """Overwrite a few keys again and again, in all the ways there are."""
    number = 0
    while time.monotonic() < end:
        number += 1
        key = f"{name}/{number % KEYS}"
        body = body_of(key, number)
        match number % 3:
            case 0:
                upload = store.start_parts(key, Headers())
                half = len(body) // 2
                parts = [
                    store.put_part(key, upload, 1, body[:half]),
                    store.put_part(key, upload, 2, body[half:]),
                ]
                store.finish_parts(key, upload, parts)
            case 1:
                store.put(f"{name}/scratch", body, Headers())
                store.copy(f"{name}/scratch", key, size=len(body))
            case _:
                store.put(key, body, Headers())
        os.write(1, f"{key} {number}\n".encode())


def shared_keys(store: FileStore, name: str, end: float) -> None:
    """Everything at once on the same keys as the other processes, checking what is read."""
    choose = random.Random(name)
    number = 0
    while time.monotonic() < end:
        number += 1
        key = f"shared/{choose.randrange(KEYS)}"
        try:
            step(store, choose.randrange(6), key, f"{name} {number} ".encode() * 50)
        except (NotFound, PreconditionFailed):
            continue
        os.write(1, f"{key} {number}\n".encode())


def step(store: FileStore, which: int, key: str, body: bytes) -> None:
    """One random operation."""
    match which:
        case 0:
            store.delete(key)
        case 1:
            store.put(key, body, Headers(), expect=ABSENT)
        case 2:
            store.copy(key, key + "+", size=1)
        case 3:
            store.put(key, body, Headers(), expect=Expect(etag=store.head(key).etag))
        case 4:
            store.put(key, body, Headers())
        case _:
            info = store.head(key)
            pieces: list[bytes] = []
            store.get(key, lambda v: pieces.append(bytes(v)), start=0, stop=info.size)


def check_read(store: FileStore, key: str) -> bytes:
    """The object's bytes, which must be the ones that its etag was made of."""
    info = store.head(key)
    pieces: list[bytes] = []
    if info.size:
        store.get(key, lambda v: pieces.append(bytes(v)), start=0, stop=info.size)
    body = b"".join(pieces)
    assert len(body) == info.size
    assert "-" in info.etag or hashlib.md5(body).hexdigest() == info.etag
    return body


def main(folder: str, name: str, seconds: str, keys: str) -> None:
    """Work until the time is over."""
    store = FileStore(Path(folder))
    os.write(1, b"ready\n")
    work = own_keys if keys == "own" else shared_keys
    work(store, name, time.monotonic() + float(seconds))
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
