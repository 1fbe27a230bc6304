# make demo    sets up and runs the main job on the shipped objects
# make quick   at every change: lints, type-checks, checks the layers, runs the quick tests
# make test    sets up, lints, type-checks, checks the layers, builds the pages, runs the tests
# make nightly the tests that take longer: half an hour and more
# make integration the whole stack on loopback: a schedule's run through faults to a champion
# make docs    builds the documentation into site/
# make measure the structure of the code in figures; REV=263c4ac puts that revision beside it
# make gpu     sets up, then what wants to be seen on a GPU in less than eight minutes; without one, in small
# make audit   a bill of materials, whether every hash is there, and known vulnerabilities
# make coverage the share of lines that the tests run, by package
.PHONY: setup demo quick test nightly integration lint docs measure audit coverage bench gpu lock \
	clean

BIN := .venv/bin
# Else every process compiles whatever it imports, which is most of a short test.
unexport PYTHONDONTWRITEBYTECODE
# Three files side by side on two cores: a fifth of a test's time is waiting. More threads in each
# would only take the cores from one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadgroup --no-loadscope-reorder

setup:
	@infra/setup.sh

demo: setup
	@$(BIN)/vitlens run point_cloud --profile demo

# A test is quick unless it says otherwise: marked slow, nightly, or on Ray (tests/conftest.py).
quick: setup lint
	$(PYTEST) -m "not slow and not nightly"

test: export VITLENS_WITH_BROWSER = 1
test: setup lint docs
	$(PYTEST) -m "not nightly"

# What `make test` has no time for: twenty kills over a build, lost training workers, a killed run,
# the daemon, a scaffolded modality, every workflow in miniature, compiling, a clean environment.
nightly: setup
	$(PYTEST) -m nightly

integration: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s tests/infra/test_local_stack.py

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ty check
	$(BIN)/lint-imports

# Strictly: a broken link, an unknown name or a page outside the navigation fails.
docs: export NO_MKDOCS_2_WARNING = 1
docs: setup
	$(BIN)/python -m mkdocs build --strict

measure:
	@$(BIN)/python -m infra.measure $(if $(REV),--compare $(REV))

audit: setup
	@$(BIN)/python -m infra.audit build

# Child processes are measured too, but for those that are killed or given an empty environment.
coverage: setup
	$(BIN)/coverage erase
	$(PYTEST:pytest=coverage run -m pytest) -m "not nightly"
	$(BIN)/coverage combine -q
	@$(BIN)/coverage json -q -o - | $(BIN)/python -m infra.covered

bench: setup
	$(BIN)/python -m tests.benchmarks

# Correctness against the CPU first, then figures: build/gpu/gpu.json and gpu.md.
gpu: setup
	$(BIN)/python -m tests.benchmarks.gpu

# Resolves every dependency again; the constraints say which releases were tried together.
lock:
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra dev --constraint infra/constraints.txt pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --no-emit-index-url --no-header \
		infra/weights.txt -o weights.lock

clean:
	rm -rf .venv build dist site .coverage* *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
