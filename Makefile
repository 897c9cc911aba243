# `make run` and `make test` are all a fresh machine needs: Rust, Python 3 with pip, and a C++ compiler.
# Everything builds in release mode, so that the heavy dependencies compile once.

CARGO ?= cargo
PIPE = $(or $(CARGO_TARGET_DIR),target)/release/cnsdiff-pipe
# A folder with copies of public data files, when there is one; see docs/data.md.
MIRROR ?= $(wildcard ../shared/data)

# With the public data at hand, tests on them are asked for; else they are ignored, and counted as such.
TESTS = $(if $(MIRROR),--include-ignored) --skip runs_in_another_process
# Targets that no command takes unless they are named.
BY_HAND = --bench guard --test mutations
# Overflow checks and debug assertions in our own code alone: the dependencies stay as they are built for everything else.
CHECKED = $(foreach check,overflow-checks debug-assertions,--config profile.release.package.cnsdiff-pipe.$(check)=true)

.PHONY: run test checked lint torture bench guard generated golden libtorch build clean

run: build
	$(PIPE) run pipelines/quickstart.yaml

test: libtorch
	@test -n "$(MIRROR)" || echo "note: no data mirror at ../shared/data: tests on the papers' files are skipped" >&2
	$(if $(MIRROR),CNSDIFF_MIRROR=$(abspath $(MIRROR))) $(CARGO) test --release --locked --no-fail-fast -- $(TESTS)

# The unit tests once more, with overflow checks and debug assertions.
checked: libtorch
	$(if $(MIRROR),CNSDIFF_MIRROR=$(abspath $(MIRROR))) $(CARGO) test --release --locked --lib $(CHECKED) -- $(TESTS)

# Kills, damage, concurrency, limits, fuzzing: half an hour for the whole, `make torture QUICK=1` for a sample.
torture: build
	scripts/torture $(if $(QUICK),--quick)

lint: libtorch
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets $(BY_HAND) -- -D warnings
	$(CARGO) check --release --locked --no-default-features --all-targets
	$(CARGO) check --release --locked -p cnsdiff-pipe-fuzz

# The engine, data at size beside polars, and training beside RecBole and libtorch; CNSDIFF_BENCH_ROWS=100000000 takes
# minutes and 10 GB of disk.
bench: build
	$(if $(MIRROR),CNSDIFF_MIRROR=$(abspath $(MIRROR))) $(CARGO) bench --locked

# Fails when a hot loop takes 1.3 times its stored instructions; needs valgrind. `make guard UPDATE=1` stores them anew.
guard: libtorch
	$(CARGO) bench --locked --bench guard

# Rewrites the files under docs/ that are generated from the code (a test compares them).
generated: libtorch
	UPDATE_GENERATED=1 $(CARGO) test --release --locked --test it generated

# Rewrites the digests of what every kind makes, for kinds with a new version (a test compares them).
golden: libtorch
	UPDATE_GOLDEN=1 $(CARGO) test --release --locked --test it golden

build: libtorch
	$(CARGO) build --release --locked

libtorch:
	@scripts/fetch-libtorch

clean:
	$(CARGO) clean
