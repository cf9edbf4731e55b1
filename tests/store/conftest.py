"""Lets pytest explain the asserts of the contract, which is no test module itself."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.store.{name}"
        for name in (
            "contract_listing",
            "contract_objects",
            "contract_parts",
            "contract_writes",
            "hammer",
            "kit",
        )
    )
)
