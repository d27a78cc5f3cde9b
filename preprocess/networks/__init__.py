"""MediaPipe's networks of faces and people in torch: detectors, face mesh, person mask. On a CPU or a GPU, in batches."""
