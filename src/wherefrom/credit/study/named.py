"""The user's own functions, named in a study file as module:function."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError


def load_named(name: str, home: Path) -> Any:
    """Import the function `module:function`; modules in the folder `home` are found too."""
    module, separator, attribute = name.partition(":")
    if not (module and separator and attribute):
        raise InputError(f"{name!r} is not of the form module:function")
    folder = str(home.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the user's own code raises
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name} cannot be imported: {problem}; correct the module") from error
    if not callable(function):
        raise InputError(f"{name} is no function; name a function of the module")
    return function
