"""Files, archives and folders of a user: what is listed, opened, refused."""
