# The two commands are `make demo` and `make test`; each does all the set-up it needs.
# PYTHON=python3.12 chooses the interpreter that .venv is made with.

PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist worksteal

.PHONY: help setup demo test clean

help:
	@echo "make demo   compile a digit classifier, run it on emulated Cortex-M cores, measure it"
	@echo "make test   lint, type-check and test everything"
	@echo "make setup  only what both need: .venv, the Arm toolchain, QEMU (see setup.sh)"
	@echo "make clean  remove .venv and everything else that was built"

setup:
	@PYTHON='$(PYTHON)' ./setup.sh

demo: setup
	.venv/bin/python examples/digits/demo.py

# pytest comes last so that its summary ends the output. mypy is there from Python 3.11 on.
test:
	@PYTHON='$(PYTHON)' ./setup.sh test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	[ ! -x .venv/bin/mypy ] || .venv/bin/mypy
	.venv/bin/pytest $(PYTEST_ARGS)

clean:
	rm -rf .venv .typing .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
