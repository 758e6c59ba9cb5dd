"""`import wherefrom` is enough to reach the package of every question."""

import pytest

import wherefrom


@pytest.mark.parametrize("name", wherefrom.PACKAGES)
def test_packages_are_imported_when_they_are_used__identity_module(name):
    assert wherefrom.__getattr__(name).__name__ == f"wherefrom.{name}"
    assert "```python" in getattr(wherefrom, name).__doc__


def test_another_name_is_no_package__rejects_name():
    assert not hasattr(wherefrom, "nothing")
