VIDEO ?=
SPEECH ?=
BUDGET ?= 75s
PYTHON ?= python3
# Which build of torch: cpu, cuda, or auto (by whether there is an NVIDIA driver).
TORCH ?= auto
BIN = .venv/bin
.PHONY: demo test fuzz lint docs quality bench wheel gpu-check sanitize cross install dev clean

demo: install
	$(BIN)/avatar demo --budget $(BUDGET) $(if $(VIDEO),--video "$(VIDEO)") $(if $(SPEECH),--speech "$(SPEECH)")

# What plays and makes; `dev` adds what tests need, and the emulation of the GPU kernels. What one compiled, the other keeps.
install: .venv/installed
dev: .venv/dev

SOURCES = pyproject.toml constraints.txt install.py install_torch.py cuda_ext/CMakeLists.txt \
  $(wildcard cuda_ext/*/*.cpp cuda_ext/*/*.h cuda_ext/*/*.cu)

.venv/installed: $(SOURCES)
	@$(PYTHON) install.py $(if $(wildcard .venv/dev),--dev) $(TORCH)
	@touch $@ $(wildcard .venv/dev)

.venv/dev: $(SOURCES)
	@$(PYTHON) install.py --dev $(TORCH)
	@touch $@ .venv/installed

# Files in parallel, one process a core; what several need is made once.
test: dev
	$(BIN)/pytest -n auto --dist loadfile

# 20 000 damaged avatars, motions, Takes, recipes, controls and job files, read as commands read them.
fuzz: dev
	$(BIN)/python -m tests.fuzzing $(or $(FOLDER),build/fuzz) $(if $(FILES),--files $(FILES)) $(if $(SEED),--seed $(SEED))

lint: dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation site in build/site, with every link checked.
docs: dev
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict

# Two people built anew, each figure beside that of bench/quality.json; needs the clips beside the checkout.
quality: dev
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench.quality $(if $(WRITE),--write)

bench: dev
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench.run $(VIDEO)
	$(BIN)/python -m bench.bench_ops
	$(BIN)/python -m bench.bench_field

wheel: dev
	$(BIN)/pip wheel . --no-deps -q --config-settings build-dir=build/wheel -w dist
	ls -l dist

# For a machine with an NVIDIA GPU, nvcc and torch for it, six minutes; needs nothing else that make dev brings. Some of
# its stages: STAGES="build tests fields". A film, a Take and an avatar to measure with: VIDEO=, TAKE=, AVATAR=.
gpu-check:
	$(PYTHON) -m bench.gpu_check $(if $(STAGES),--stages $(STAGES)) $(if $(VIDEO),--video "$(VIDEO)") \
	  $(if $(TAKE),--take "$(TAKE)") $(if $(AVATAR),--avatar "$(AVATAR)") $(if $(LOGS),--logs "$(LOGS)")

# The CPU ops once with the address and undefined-behaviour sanitizers, once with the thread sanitizer.
SANITIZED = $(BIN)/cmake -S cuda_ext -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DAVATAR_CUDA=OFF
sanitize: dev
	$(SANITIZED) -B build/address -DAVATAR_SANITIZE=address,undefined && $(BIN)/cmake --build build/address -j
	$(SANITIZED) -B build/thread -DAVATAR_SANITIZE=thread && $(BIN)/cmake --build build/thread -j
	$(BIN)/python tests/sanitized.py build/address libasan.so
	$(BIN)/python tests/sanitized.py build/thread libtsan.so

# The vector code for 64-bit Arm, where its compiler is installed; run by an emulator where that is, too.
cross:
	tests/native/cross.sh

clean:
	rm -rf .venv build
