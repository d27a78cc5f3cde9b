"""MediaPipe's networks of faces and people in torch, for CPUs and GPUs: detectors, face mesh, person mask."""
