"""An invertible generator from an image folder: encode, reconstruct, edit, sort, find outliers."""

from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.model import FittedInverter, load

__all__ = ["FittedInverter", "InversionConfig", "load"]
