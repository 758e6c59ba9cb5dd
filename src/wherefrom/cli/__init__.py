"""The command line: reads, calls one function, saves, prints."""
