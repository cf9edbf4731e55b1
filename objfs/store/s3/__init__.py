"""S3 and what speaks it: AWS, Ceph's radosgw, SeaweedFS, MinIO, R2 and many more."""

from objfs.store.s3.driver import S3Store

__all__ = ["S3Store"]
