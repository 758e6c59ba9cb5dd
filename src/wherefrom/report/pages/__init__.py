"""Parts of every report: HTML, figures, tables, thumbnails, fonts."""
