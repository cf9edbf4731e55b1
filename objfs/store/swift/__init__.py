"""OpenStack Swift and what speaks it (Ceph's radosgw): `swift://container[/prefix]`.

The SDKs are the extra `objfs[swift]`. `objfs.store.swift.environment` is read without them, so
nothing is imported here.
"""
