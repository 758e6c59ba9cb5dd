"""Metadata of image files: EXIF, PNG chunks, stated colour spaces."""
