"""Azure Blob Storage: block blobs of one container."""

from objfs.store.azure.driver import AzureStore

__all__ = ["AzureStore"]
