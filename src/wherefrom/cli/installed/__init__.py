"""About the installation: doctor, shipped models, shell completion, the page of all commands."""
