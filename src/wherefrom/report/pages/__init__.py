"""What all pages share: HTML, figures, tables, thumbnails, fonts."""
