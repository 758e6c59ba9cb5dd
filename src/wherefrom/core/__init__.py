"""The ground floor: config, errors, seeds, progress, store.  Nothing here opens a user's image."""
