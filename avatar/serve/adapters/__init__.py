"""Live avatars inside frameworks for voice agents."""
