"""Video -> Take. The only package that needs OpenCV."""
