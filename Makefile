VIDEO ?=
SPEECH ?=
BUDGET ?= 2m
PYTHON ?= python3
# Which build of torch: cpu, cuda, or auto (by whether there is an NVIDIA driver).
TORCH ?= auto
BIN = .venv/bin
# One GPU generation compiles in seconds: this machine's, or one that is only compiled, where there is nvcc and no GPU.
# The emulation of the GPU kernels is for the tests.
GPU_HERE = $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep '^[0-9.]*$$' | tr -d . | sort -u | paste -sd ';')
DEV_BUILD = -C "cmake.define.AVATAR_CUDA_ARCHITECTURES=$(or $(GPU_HERE),90)" -C cmake.define.AVATAR_EMULATION=ON

.PHONY: demo test fuzz lint quality bench wheel gpu-check sanitize cross install clean

demo: install
	$(BIN)/avatar demo --budget $(BUDGET) $(if $(VIDEO),--video "$(VIDEO)") $(if $(SPEECH),--speech "$(SPEECH)")

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt install_torch.py cuda_ext/CMakeLists.txt $(wildcard cuda_ext/*/*.cpp cuda_ext/*/*.h cuda_ext/*/*.cu)
	$(PYTHON) -m venv .venv
	$(BIN)/python install_torch.py $(TORCH)
	$(BIN)/pip install -q -c constraints.txt $(DEV_BUILD) -e ".[dev]"
	touch $@

# Files in parallel, one process a core; what several need is made once.
test: install
	$(BIN)/pytest -n auto --dist loadfile

# 20 000 damaged avatars, motions, Takes, recipes, controls and job files, read as commands read them.
fuzz: install
	$(BIN)/python -m tests.fuzzing $(or $(FOLDER),build/fuzz) $(if $(FILES),--files $(FILES)) $(if $(SEED),--seed $(SEED))

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two people built anew, each figure beside that of bench/quality.json; needs the clips beside the checkout.
quality: install
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench.quality $(if $(WRITE),--write)

bench: install
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench.run $(VIDEO)
	$(BIN)/python -m bench.bench_ops
	$(BIN)/python -m bench.bench_field

wheel: install
	$(BIN)/pip wheel . --no-deps -q -C build-dir=build/wheel -w dist
	ls -l dist

# For a machine with an NVIDIA GPU, nvcc and torch for it, six minutes; needs nothing else that make install brings. Some of
# its stages: STAGES="build tests fields". A film, a Take and an avatar to measure with: VIDEO=, TAKE=, AVATAR=.
gpu-check:
	$(PYTHON) -m bench.gpu_check $(if $(STAGES),--stages $(STAGES)) $(if $(VIDEO),--video "$(VIDEO)") \
	  $(if $(TAKE),--take "$(TAKE)") $(if $(AVATAR),--avatar "$(AVATAR)") $(if $(LOGS),--logs "$(LOGS)")

# The CPU ops once with the address and undefined-behaviour sanitizers, once with the thread sanitizer.
SANITIZED = $(BIN)/cmake -S cuda_ext -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DAVATAR_CUDA=OFF
sanitize: install
	$(SANITIZED) -B build/address -DAVATAR_SANITIZE=address,undefined && $(BIN)/cmake --build build/address -j
	$(SANITIZED) -B build/thread -DAVATAR_SANITIZE=thread && $(BIN)/cmake --build build/thread -j
	$(BIN)/python tests/sanitized.py build/address libasan.so
	$(BIN)/python tests/sanitized.py build/thread libtsan.so

# The vector code for 64-bit Arm, where its compiler is installed; run by an emulator where that is, too.
cross:
	tests/native/cross.sh

clean:
	rm -rf .venv build
