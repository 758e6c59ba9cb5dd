"""Generator, encoder and critic: layers, bodies, heads, assembly by method."""
