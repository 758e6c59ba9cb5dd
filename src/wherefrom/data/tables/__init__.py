"""Tables, arrays, labels and annotations beside images."""
