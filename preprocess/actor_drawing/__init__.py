"""How the synthetic actor is drawn: a closed head over painted shoulders, lit and textured."""
