VIDEO ?=
SPEECH ?=
BUDGET ?= 2m
PYTHON ?= python3
BIN = .venv/bin
# One GPU generation compiles in seconds; the emulation of the GPU kernels is for the tests.
DEV_BUILD = -C cmake.define.AVATAR_CUDA_ARCHITECTURES=90 -C cmake.define.AVATAR_EMULATION=ON

.PHONY: demo test lint bench install clean

demo: install
	$(BIN)/avatar demo --budget $(BUDGET) $(if $(VIDEO),--video "$(VIDEO)") $(if $(SPEECH),--speech "$(SPEECH)")

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt cuda_ext/CMakeLists.txt $(wildcard cuda_ext/*/*.cpp cuda_ext/*/*.h cuda_ext/*/*.cu)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt $(DEV_BUILD) -e ".[dev]"
	touch $@

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench.run $(VIDEO)

clean:
	rm -rf .venv build
