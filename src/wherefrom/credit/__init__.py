"""Credit: who contributed how much to what a generative model does, and how to split the money."""
