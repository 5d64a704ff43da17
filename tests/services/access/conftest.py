"""An issuer of tokens for a test."""

from collections.abc import AsyncIterator

import pytest

from tests.services.access.issuers import Issuer, issuing


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found
