"""A study file, the models and properties that it names, and what it costs."""
