"""Video -> Take. The only package that needs mediapipe and OpenCV."""
