"""Azure Blob Storage: block blobs of one container, or of all: `az://container[/prefix]`.

The SDKs are the extra `objfs[azure]`. `objfs.store.azure.environment` is read without them, so
nothing is imported here.
"""
