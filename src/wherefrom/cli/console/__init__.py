"""What all commands share: session, options, progress, stderr."""
