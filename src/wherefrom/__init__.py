"""wherefrom: where did this generated image come from, and who deserves the credit?

One package per question.  `wherefrom.attribution` answers "was this image made by my model?".
"""

__version__ = "0.1.0"
