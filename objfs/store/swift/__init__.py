"""OpenStack Swift and what speaks it (Ceph's radosgw): `swift://container[/prefix]`.

The SDKs are the extra `objfs[swift]`, imported when the first mount of this scheme is made.
"""

import importlib
from typing import Final

from objfs.config import StoreConfig
from objfs.errors import UsageError
from objfs.store.account import Account
from objfs.store.base import Driver

NEEDED: Final = ("keystoneauth1.session", "swiftclient.authv1")


def open_swift(config: StoreConfig) -> Driver:
    """A driver for one container. Raises `UsageError` when the extra is not installed."""
    _need(config)
    from objfs.store.swift.driver import SwiftStore

    return SwiftStore(config)


def open_account(config: StoreConfig) -> Account:
    """All containers of an account. Raises `UsageError` when the extra is not installed."""
    _need(config)
    from objfs.store.swift.account import SwiftAccount

    return SwiftAccount(config)


def _need(config: StoreConfig) -> None:
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"mounting {config.url} needs the Python package {name.partition('.')[0]}",
                remedy="Install it: pip install 'objfs[swift]'.",
            ) from error
