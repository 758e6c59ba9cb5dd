"""What is installed: doctor, health, shell completion, reference of all commands."""
