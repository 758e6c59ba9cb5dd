# `make help` says what there is.  Only python3 (3.11 or newer) and make are needed.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?= -q
# Of one thread each: tests work on tensors too small for threads.  One more than there are cores,
# because some tests wait for other processes, leases and time limits.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Without the files that Python keeps of compiled modules, each process compiles all of torch anew:
# `import torch` then takes twice as long.  (pip compiles nothing: it would use one core for it.)
unexport PYTHONDONTWRITEBYTECODE
# Empty: the CPU build of torch where there is no NVIDIA GPU, the usual build where there is one.
TORCH ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile $(PIP_FLAGS) \
	-c constraints.txt
TORCH_PIN := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_FLAGS)
# The tests are collected once, by a process that the others are forked from.
PARALLEL := --parallel=fork --parallel-workers=$(PROCESSES) --parallex-no-session-scope
# Tests of files, not of behaviour: docs, generated tables, docs/cli.md, imports, names.
TESTS_OF_FILES := tests/test_docs.py tests/test_arrows.py tests/test_names.py
INPUTS := constraints.txt pyproject.toml
# What the commands of the README need, `wherefrom demo` and `wherefrom serve` among them.
EXTRAS := anomaly,attribution,c2pa,credit,diffusers,inversion,web

.DELETE_ON_ERROR:
.PHONY: help venv dev demo test test-slow check docs site bench dist dist-check clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'Settings: make demo PYTHON=python3.12 VENV=../v PIP_FLAGS="--proxy ..." TORCH="$(TORCH_PIN)"'

venv: $(VENV)/.installed ## the environment with the package and what it needs to run

dev: $(VENV)/.installed-dev ## the environment with what check, test and demo need

demo: $(VENV)/.installed ## all five questions on shipped images, with a table and reports
	$(PY) -m wherefrom.cli.main demo --out demo/out --overwrite

test: $(VENV)/.installed-dev ## the fast tests
	$(PYTEST) $(PARALLEL) $(addprefix --ignore=,$(TESTS_OF_FILES)) -m "not slow and not gpu"

test-slow: $(VENV)/.installed-dev ## the tests that take longer or need more: see CONTRIBUTING.md
	$(PYTEST) -m "slow and not gpu"

check: $(VENV)/.installed-dev ## format, lint, types, docs and generated files; no other test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PYTEST) $(TESTS_OF_FILES)

docs: $(VENV)/.installed ## regenerate docs/cli.md and the tables made from docs/results
	$(PY) -m wherefrom.cli.installed.reference > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md
	$(PY) experiments/render_docs.py

site: $(VENV)/.installed-site ## the docs as a web site in build/site, which opens without a server
	$(PY) -m mkdocs build --strict

bench: $(VENV)/.installed-bench ## what the benchmarks do and need (they take files that are not shipped)
	set -e; for script in inversion third_parties attribution loops origin_search; do $(PY) benchmarks/$$script.py --help; done

dist: $(VENV)/.installed-dist ## wheel and sdist in dist/, the same bytes for the same SOURCE_DATE_EPOCH
	$(PY) -m hatchling build --target wheel --target sdist

dist-check: $(VENV)/.installed-dist ## build twice, look into it, install it afresh, resolve every extra
	$(PY) .ci/dist_check.py

clean: ## remove the environment and every cache
	rm -rf $(VENV) .ci/venv .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name .git -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) cannot make environments; install its venv package (python3-venv)" >&2; \
		exit 1; }
	@echo "making $(VENV), with torch and what it needs: a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@if [ -n "$(TORCH)" ]; then $(PIP) $(TORCH); \
	elif command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then $(PIP) $(TORCH_PIN); \
	elif $(PIP) $(TORCH_PIN)+cpu 2>/dev/null; then :; \
	else \
		echo "no CPU build of torch is offered here, so the usual one is installed (several GB);"; \
		echo "for the small one: make PIP_FLAGS='--extra-index-url ADDRESS-OF-AN-INDEX-OF-CPU-BUILDS'"; \
		$(PIP) $(TORCH_PIN); \
	fi
	@touch $@

$(VENV)/.installed: $(VENV)/.torch $(INPUTS)
	@echo "installing wherefrom into $(VENV)"
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch $@

# One call of pip for both stamps: each call looks at every package again.
$(VENV)/.installed-%: $(VENV)/.torch $(INPUTS)
	@echo "installing wherefrom into $(VENV), with the extras $(EXTRAS_$*)"
	@$(PIP) -e '.[$(EXTRAS),$(EXTRAS_$*)]'
	@# Both test processes would compile the same modules at the same time; some packages hold
	@# templates that are no Python, which is no fault.
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $(VENV)/.installed $@

EXTRAS_dev := dev,faiss,heif,milvus,ray
EXTRAS_bench := bench,faiss
EXTRAS_site := site
EXTRAS_dist := dist
