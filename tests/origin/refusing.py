"""What a refusal looks like, wherever it comes from."""

from contextlib import contextmanager

import pytest

from wherefrom.core.errors import InputError


@contextmanager
def refused(said):
    """What is done inside must end in an `InputError` of one line that matches `said`."""
    with pytest.raises(InputError, match=said) as caught:
        yield
    assert "\n" not in str(caught.value)
