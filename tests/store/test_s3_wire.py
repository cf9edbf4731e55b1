"""Answers that are read without a server."""

import pytest

from objfs.errors import StoreError
from objfs.store.s3 import wire


def test_a_page_that_is_no_listing_is_no_empty_bucket():
    """A sign-in page of a hotel's network answers 200; botocore finds nothing in it."""
    with pytest.raises(StoreError, match="no S3 server"):
        wire.page({"ResponseMetadata": {"HTTPStatusCode": 200}, "html": "hi"}, "")


def test_an_empty_listing_is_one():
    """What radosgw answers for a bucket without keys."""
    assert not wire.page({"Name": "b", "IsTruncated": False}, "").objects
