"""Which of my images was this edited picture made from?"""

from wherefrom.origin.edit_map import EditMapConfig, FittedEditMap, load_edit_map
from wherefrom.origin.method import fit_edit_map, fit_from_moments
from wherefrom.origin.moments import PairMoments

__all__ = [
    "EditMapConfig",
    "FittedEditMap",
    "PairMoments",
    "fit_edit_map",
    "fit_from_moments",
    "load_edit_map",
]
