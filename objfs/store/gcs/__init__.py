"""Google Cloud Storage, by its own APIs."""

from objfs.store.gcs.driver import GcsStore

__all__ = ["GcsStore"]
