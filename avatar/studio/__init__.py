"""The studio: a page in the browser that makes avatars and films, over a folder of plain files."""
