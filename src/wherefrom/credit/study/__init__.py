"""The study file, the models, properties and baselines it defines, its runs, and its cost."""
