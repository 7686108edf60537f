PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLES := sample_checkpoints
OUT := build/demo

.PHONY: demo test fuzz lint types check clean

# The environment is made once, and again when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("eqlr-tools needs Python 3.11 or later, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q eqlr_tools  # As an installed package is: half of a short command is compiling.
	@touch $@

demo: $(READY)
	@mkdir -p $(OUT)
	$(BIN)/eqlr scan $(SAMPLES)
	$(BIN)/eqlr audit $(SAMPLES)/stylegan2_digits.pt --network g_ema
	$(BIN)/eqlr bake $(SAMPLES)/progan_digits.pth.tar $(OUT)/progan_plain.safetensors --force
	$(BIN)/eqlr bake $(SAMPLES)/stylegan2_digits.pt $(OUT)/stylegan2_plain.pt --force --quiet
	$(BIN)/eqlr verify $(SAMPLES)/progan_digits.pth.tar $(OUT)/progan_plain.safetensors
	$(BIN)/eqlr verify $(SAMPLES)/stylegan2_digits.pt $(OUT)/stylegan2_plain.pt

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

fuzz: $(READY)
	$(BIN)/python -m tests.hostile.fuzz --seconds 300

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
