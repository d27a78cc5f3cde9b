"""Text -> speech with the times of its phones, by voices that are packages, programs or servers."""
