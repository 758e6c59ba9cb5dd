"""The tables of the anomaly paper, and people's judgements."""
