# Needs Python 3.11 or newer. With a C compiler the kernels are compiled; without one the NumPy twins run.
#
#   MINISPARSE_DEBUG=1 make test            the compiled kernels with every check on
#   MINISPARSE_PORTABLE=1 make install      not tuned for this machine's processor
#   MINISPARSE_BACKEND=reference make test  the twins

PYTHON ?= python3
BIN := .venv/bin
SOURCES := setup.py pyproject.toml $(wildcard _core/*.pyx _core/*.pxi _core/*.h)
# a stamp a flavour, at most one at a time: a change of flavour builds again
BUILT := .venv/.built-debug$(MINISPARSE_DEBUG)-portable$(MINISPARSE_PORTABLE)
# pytest-xdist has the cores; threads inside the workers would fight over them
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n 2

# a build of its own; the sanitizers' library has to be loaded before Python's
SANITIZED := build/sanitize
SANITIZER := LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc
KERNEL_TESTS := tests/contracts tests/test_codecs.py tests/test_golden.py $(wildcard $(patsubst _core/%.pyx,tests/test_%.py,$(wildcard _core/*.pyx)))

.PHONY: help install demo test lint notebooks book deep sanitize peers clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(BUILT)  ## the package with its tests' tools, into .venv

$(BUILT): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	rm -f .venv/.built-*
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[test,notebooks]"
	touch $@

demo: install  ## train on a weight budget, compress, read back: a minute or so
	$(BIN)/minisparse demo

test: lint  ## lint and all tests but the long ones
	$(PYTEST)

lint: install  ## ruff
	$(BIN)/ruff check .

notebooks: install  ## run all chapters from clean kernels, offline, and write their outputs
	$(BIN)/python -m notebooks.tools.run $(ARGS)

book: install  ## the chapters as a static site, build/book/index.html
	$(BIN)/python -m notebooks.tools.book

deep: install  ## all tests, the long ones too, with many more random cases
	$(PYTEST) -m "deep or not deep" --hypothesis-profile deep

sanitize: install  ## the kernels' tests under address and undefined-behaviour sanitizers
	rm -rf $(SANITIZED)
	MINISPARSE_SANITIZE=1 $(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--no-deps --target $(SANITIZED) .
	PYTHONPATH=$(SANITIZED) MINISPARSE_BACKEND=compiled MINISPARSE_NUM_THREADS=2 $(SANITIZER) \
		$(BIN)/python -P -m pytest --capture=sys $(KERNEL_TESTS)

peers: install  ## the libraries that benchmarks compare with, into .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[peers]"

clean:  ## remove what was built; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .venv/.built-*
	rm -f _core/*.c _core/*.so
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
