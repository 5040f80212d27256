# The front door: all that is done often, by its shortest name. CMake does the building.
#
#   make            the programs: build/release/pgvigil and pgvigilctl
#   make test       everything that proves them
#   make soak       clusters simulated for MINUTES=10, and what of the brain was reached
#   make mutate     faults planted into the brain, and which check catches each
#   make demo       a cluster on this machine, hurt before your eyes
#   make versions   the tests in other Debian releases, each with its PostgreSQL: SUITES="trixie sid"
#   make bench      pgvigil and Patroni measured side by side
#   make install    into PREFIX (/usr/local), honours DESTDIR
#
# As root, missing Debian packages are installed first; else you are told which.

PREFIX ?= /usr/local
export PEERS ?= /var/tmp/pgvigil-peers
PYTHON = /usr/bin/python3

all: deps-build release

release: deps-build
	@test -e build/release/build.ninja || cmake --preset release >/dev/null
	@cmake --build --preset release --target pgvigil pgvigilctl

deps: deps-build deps-test deps-bench
deps-build deps-test deps-bench deps-demo deps-format:
	@cmake/deps.sh $(@:deps-%=%)

test: deps-build deps-test
	@tests/run

# One part of the tests alone, for instance: make test-integration
test-%: deps-build deps-test
	@tests/run $*

# The simulator for as long as you like, and what it has reached; then what it would catch.
MINUTES ?= 10
soak: deps-build
	@tests/sim/run --seconds $$(( $(MINUTES) * 60 )) --from now --stats
	@tests/sim/coverage

mutate: deps-build deps-test
	@tests/sim/mutate

# As root, in chroots below PEERS; about half an hour for each.
SUITES ?= bullseye trixie sid
versions:
	@tests/versions $(SUITES)

demo: release deps-demo
	@$(PYTHON) tests/demo/demo.py

bench: release deps-bench
	@tests/peers/install patroni
	@$(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

# The unit file names the program's place, hence configuring again.
install: deps-build
	cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	cmake --build --preset release --target pgvigil pgvigilctl
	cmake --install build/release

format: deps-format
	git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build

.PHONY: all release deps deps-build deps-test deps-bench deps-demo deps-format test soak mutate versions demo bench install format clean
