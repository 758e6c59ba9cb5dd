"""What a file says beside its pixels: EXIF, PNG chunks, stated colour."""
