"""The hierarchy that the command line and callers rely on."""

import pytest

from wherefrom.core.errors import ArtifactError, InputError, MissingExtraError, WherefromError


@pytest.mark.parametrize("kind", [InputError, ArtifactError, MissingExtraError])
def test_every_error_of_a_user_has_one_root__identity_hierarchy(kind):
    assert issubclass(kind, WherefromError)
    assert not issubclass(WherefromError, ValueError)  # a bug's ValueError keeps its traceback


def test_an_input_error_is_a_value_error__identity_hierarchy():
    assert issubclass(InputError, ValueError)


def test_a_missing_extra_prints_the_pip_line__closed_form():
    message = str(MissingExtraError("diffusers", "diffusers", "loading a VAE"))
    assert message == (
        "loading a VAE needs the package 'diffusers', which is not installed; "
        "run: pip install 'wherefrom[diffusers]'"
    )
