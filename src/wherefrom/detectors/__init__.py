"""One-class and semi-supervised detectors.  Larger score = more anomalous."""
