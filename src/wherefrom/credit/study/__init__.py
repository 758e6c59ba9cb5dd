"""The study file, the models and properties that it defines, and what a study costs."""
