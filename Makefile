# `make run` and `make test` are all a fresh machine needs: Rust, Python 3 with pip, and a C++ compiler.
# Everything builds in release mode, so that the heavy dependencies compile once.

CARGO ?= cargo
PIPE = $(or $(CARGO_TARGET_DIR),target)/release/cnsdiff-pipe
# A folder with copies of public data files, when there is one; see docs/data.md.
MIRROR ?= $(wildcard ../shared/data)

.PHONY: run test lint bench guard generated libtorch build clean

run: build
	$(PIPE) run pipelines/quickstart.yaml

test: libtorch
	@test -n "$(MIRROR)" || echo "note: no data mirror at ../shared/data: tests on the papers' files will be skipped" >&2
	$(if $(MIRROR),CNSDIFF_MIRROR=$(abspath $(MIRROR))) $(CARGO) test --release --locked

lint: libtorch
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

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

build: libtorch
	$(CARGO) build --release --locked

libtorch:
	@scripts/fetch-libtorch

clean:
	$(CARGO) clean
