"""One loop for everything that trains: resume, progress, log.  It knows no method."""
