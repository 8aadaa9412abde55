# Run with ./justw, which brings `just` and the servers that tests need.

set positional-arguments

cargo-deny-version := "0.20.2"
cargo-deny := justfile_directory() / ".tools" / ("cargo-deny-" + cargo-deny-version)
cargo-fuzz-version := "0.13.1"
cargo-fuzz := justfile_directory() / ".tools" / ("cargo-fuzz-" + cargo-fuzz-version)

# List the recipes
default:
    @just --justfile '{{ justfile() }}' --list --unsorted

# What CI runs
check: lint deny advisories pack test smoke notebook-check image-check

# Format the code
fmt:
    cargo fmt --all

# Formatting and clippy, where a warning is a fault
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, bans and sources of all dependencies, as deny.toml has them
deny: _cargo-deny
    '{{ cargo-deny }}/bin/cargo-deny' --locked check licenses bans sources

# Known vulnerabilities in the dependencies. Without the advisory database this is passed over, and said; ADVISORIES=required makes it a fault
advisories: _cargo-deny
    @log=$(mktemp) && trap 'rm -f "$log"' EXIT; \
        if '{{ cargo-deny }}/bin/cargo-deny' --locked check advisories 2>"$log"; then cat "$log" >&2; \
        elif [ "${ADVISORIES:-}" != required ] && grep -q 'failed to fetch advisory database' "$log"; then \
            echo 'advisories: PASSED OVER: the advisory database cannot be fetched from here; the dependencies were not judged' >&2; \
        else cat "$log" >&2; exit 1; fi

# There is no recent binary of cargo-deny to pin, so it is built once (one to two minutes); unoptimised is fast enough.
_cargo-deny:
    @[ -x '{{ cargo-deny }}/bin/cargo-deny' ] || { \
        echo 'building cargo-deny {{ cargo-deny-version }} into .tools (once)'; \
        cargo install --quiet --locked --debug --root '{{ cargo-deny }}' 'cargo-deny@{{ cargo-deny-version }}'; \
    }

# All tests, or those that the arguments select, against real servers, whose logs stay in .run/test
test *ARGS:
    @given=$#; companions='--exclude paper-engine-timer --exclude paper-engine-replay --exclude pe-publish'; if cargo nextest --version >/dev/null 2>&1; then runner='nextest run'; else runner=test; fi; \
        if ! unshare --user --map-root-user --mount --net ip link set lo up 2>/dev/null; then \
            echo 'NOT RUN: the tests of hosts::, full disks and dead networks. This machine lets nobody have namespaces (unshare, ip).' >&2; \
            skip='--skip hosts::'; \
        fi; \
        if ! "${PEO_PGBOUNCER:-pgbouncer}" --version >/dev/null 2>&1; then \
            echo 'NOT RUN: the test of pgbouncer::, which is not here. PEO_PGBOUNCER can say where it is.' >&2; \
            skip="${skip:-} --skip pgbouncer::"; \
        fi; \
        if ! chromedriver --version >/dev/null 2>&1 || ! "${PEO_CHROMIUM:-/usr/bin/chromium}" --version >/dev/null 2>&1; then \
            echo 'NOT RUN: the tests of browser::, which want chromium and chromedriver. PEO_CHROMIUM can say where chromium is.' >&2; \
            skip="${skip:-} --skip browser::"; \
        fi; \
        if ! "${PEO_CHROMIUM:-/usr/bin/chromium}" --version >/dev/null 2>&1; then \
            echo 'NOT RUN: the tests of pages in a browser. There is no chromium here; PEO_CHROMIUM can say where it is.' >&2; \
            skip="${skip:-} --skip in_a_browser"; \
        fi; \
        if [ ! -d /usr/lib/postgresql ]; then \
            echo 'NOT RUN: the test of tls:: that wants a Postgres built with TLS, in /usr/lib/postgresql. The pinned one is not.' >&2; \
            skip="${skip:-} --skip so_is_a_postgres_with_tls_of_its_own"; \
        fi; \
        if ! promtool --version >/dev/null 2>&1 || ! prometheus --version >/dev/null 2>&1; then \
            echo 'NOT RUN: the tests monitoring::prom*, which want prometheus and promtool (Debian: apt-get install prometheus).' >&2; \
            skip="${skip:-} --skip monitoring::prom"; \
        fi; \
        if ! script --version >/dev/null 2>&1; then \
            echo 'NOT RUN: the tests of terminal:: and one of job::, which want script, of util-linux, to make a terminal.' >&2; \
            skip="${skip:-} --skip terminal:: --skip a_person_and_a_service_get_no_line"; \
        fi; \
        if [ -n "${skip:-}" ]; then \
            case " $* " in *' -- '*) ;; *) set -- "$@" -- ;; esac; set -- "$@" $skip; \
        fi; \
        cargo $runner --workspace $companions --no-run --locked && \
        python3 scripts/services.py exec --fast --dir .run/test -- cargo $runner --workspace $companions --locked "$@" && \
        if [ "$given" = 0 ]; then just --justfile '{{ justfile() }}' test-timer && just --justfile '{{ justfile() }}' test-replay; fi

# The tests of the timer, or those that the arguments select, against Postgres and MariaDB
test-timer *ARGS:
    @if cargo nextest --version >/dev/null 2>&1; then runner='nextest run'; else runner=test; fi; \
        mariadb=--mariadb; \
        if ! python3 scripts/services.py install mariadb; then \
            echo 'NOT RUN: the tests mariadb:: of the timer. There is no MariaDB here, and it cannot be installed.' >&2; \
            mariadb=; case " $* " in *' -- '*) ;; *) set -- "$@" -- ;; esac; set -- "$@" --skip mariadb::; \
        fi; \
        cargo $runner --no-run --locked -p paper-engine-timer && \
        exec python3 scripts/services.py exec --fast --no-jetstream $mariadb --dir .run/test-timer -- \
            cargo $runner --locked -p paper-engine-timer "$@"

# The tests of the replay and of destinations, or those that the arguments select, against Postgres and NATS
test-replay *ARGS:
    @if cargo nextest --version >/dev/null 2>&1; then runner='nextest run'; else runner=test; fi; \
        packages='-p pe-publish -p paper-engine-replay --features pe-publish/conformance'; \
        cargo $runner --no-run --locked $packages && \
        exec python3 scripts/services.py exec --fast --no-s3 --dir .run/test-replay -- cargo $runner --locked $packages "$@"

# Replay a day of orders in 24 seconds to four destinations, one of them slow, on servers of its own
demo-replay:
    cargo build --release --locked -p paper-engine-replay
    python3 scripts/services.py exec --fast --no-s3 -- \
        python3 scripts/demo_replay.py "${CARGO_TARGET_DIR:-target}/release/paper-engine-replay"

# Fuzz one target (rows, cells, keys, settings) or all, so many seconds each; more arguments are libFuzzer's
fuzz target='all' seconds='60' *ARGS: _cargo-fuzz
    @targets=$1 seconds=$2; shift 2; [ "$targets" != all ] || targets='rows cells keys settings'; \
    for target in $targets; do \
        mkdir -p ".run/fuzz/$target" && \
        '{{ cargo-fuzz }}/bin/cargo-fuzz' run --fuzz-dir fuzz --dev --sanitizer none "$target" \
            ".run/fuzz/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=20 "$@" || exit; \
    done

# On stable Rust: no sanitizer is needed where there is no unsafe code. Built once (a minute).
_cargo-fuzz:
    @[ -x '{{ cargo-fuzz }}/bin/cargo-fuzz' ] || { \
        echo 'building cargo-fuzz {{ cargo-fuzz-version }} into .tools (once)'; \
        cargo install --quiet --locked --debug --root '{{ cargo-fuzz }}' 'cargo-fuzz@{{ cargo-fuzz-version }}'; \
    }

# What the suite is too short for: kills at every point and at any time, many loaders, flipped bits, a file of 2 GB
kill-loop *ARGS:
    PEO_SEEDS="${PEO_SEEDS:-20}" PEO_KILLS="${PEO_KILLS:-200}" PEO_FLIPS="${PEO_FLIPS:-1000}" PEO_CHAOS="${PEO_CHAOS:-500}" \
        PEO_HUGE="${PEO_HUGE:-2048}" \
        just --justfile '{{ justfile() }}' test kill:: many:: hosts:: scarce:: a_flipped_bit a_huge a_bomb whatever_happens \
        --success-output final --no-fail-fast "$@"

# 10,000 deliveries by one service: what it takes must not grow
soak *ARGS:
    PEO_DELIVERIES="${PEO_DELIVERIES:-10000}" \
        just --justfile '{{ justfile() }}' test a_service_takes_no_more --success-output final "$@"

# The demo on a small feed: the release build works, and the main job on real input
smoke:
    just --justfile '{{ justfile() }}' demo --scale 0.01

# Rewrite the expected output of the tests (BLESS=1); look at the diff afterwards
bless *ARGS:
    BLESS=1 just --justfile '{{ justfile() }}' test "$@"

# Measure all goals side by side with peers and limits; --rounds 1 --scale 0.1 is short, --only first,reload some, --only timer the timer
bench *ARGS:
    @case " $* " in *' --only timer '*) exec python3 crates/paper-engine-timer/bench/bench.py "$@" ;; esac; \
    cargo build --release --locked && \
    python3 benches/bench.py "$@"

# Bytes per second of decode and encode
bench-micro *ARGS:
    cargo bench --locked --bench micro -- "$@"

# Watch a feed being loaded, on this machine, with servers of its own
demo *ARGS:
    cargo build --release --locked
    python3 scripts/demo.py "$@"

# Watch timers fire: a thousand good ones, a dead URL, a slow one, a killed pod, on servers of its own
demo-timer *ARGS:
    cargo build --release --locked -p paper-engine-timer --bins --example webhook_sink
    python3 scripts/services.py exec --fast --no-jetstream --dir .run/demo-timer -- python3 scripts/demo_timer.py "$@"

# Take the pictures of the status page in docs/pictures again: wants chromium and chromedriver
screenshots:
    cargo build --locked
    PROFILE=debug python3 scripts/services.py exec --fast --dir .run/screenshots -- python3 scripts/screenshots.py

# Run the program with the variables of config.env, if there is one
run *ARGS:
    @[ ! -f config.env ] || while IFS= read -r line || [ -n "$line" ]; do \
        case $line in \#*) ;; [A-Za-z_]*=*) export "$line" ;; esac; \
    done <config.env; \
    exec cargo run --release --locked -- "$@"

# Draw docs/pictures/plan.png anew: a plan's page in a browser, on servers of its own
plan-picture:
    cargo build --release --locked
    python3 scripts/services.py exec --fast --dir .run/picture -- \
        scripts/plan_picture.sh "${CARGO_TARGET_DIR:-target}/release/paper-engine-orders" docs/pictures/plan.png

# Build the container image
docker:
    docker build -t paper-engine-orders .

# Draw docs/*.png again, from the catalog of a live database
diagrams:
    cargo build --release --locked
    python3 scripts/services.py exec --fast --no-jetstream -- python3 scripts/diagrams.py draw

# Write docs/configuration.md and the dark picture again, from config.env.sample and the light picture
documents:
    python3 scripts/documents.py write

# Set docs/user_guide.pdf again, from docs/user_guide.md
guide:
    python3 scripts/guide.py draw

# Run notebooks/eda.ipynb from the top on a feed made and loaded for it; its conclusions go into README.md
notebook:
    cargo build --release --locked
    python3 scripts/services.py exec --fast --no-jetstream -- python3 scripts/notebook.py run

# The same, keeping nothing: a cell that fails, or prints other numbers than the notebook shows, is a fault
notebook-check:
    @if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
        echo 'NOT RUN: notebooks/eda.ipynb. It wants Python 3.11 or later.' >&2; \
    else \
        cargo build --release --locked && \
        python3 scripts/services.py exec --fast --no-jetstream -- python3 scripts/notebook.py check; \
    fi

cargo-cyclonedx-version := "0.5.9"
cargo-cyclonedx := justfile_directory() / ".tools" / ("cargo-cyclonedx-" + cargo-cyclonedx-version)

# The files of deploy/ against their schemas and linters, without running them
pack:
    python3 scripts/pack.py

# Prove the image: by docker where it has an engine, else, as root with debootstrap, by the Dockerfile's own steps
image-check *ARGS:
    @if docker info >/dev/null 2>&1 || { [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; }; then \
        case " $* " in *' --binary '*) ;; *) docker info >/dev/null 2>&1 || cargo build --release --locked || exit ;; esac; \
        exec python3 scripts/services.py exec --fast --no-jetstream --dir .run/image-servers -- python3 scripts/image_check.py "$@"; \
    fi; \
    echo 'image-check: PASSED OVER: there is no docker engine, nor root with debootstrap (Debian: apt-get install debootstrap)' >&2

# Prepare a release in dist/: archive, SBOM, checksums; publishes nothing. docs/deploying.md has more
release VERSION *ARGS: _cargo-cyclonedx
    PATH='{{ cargo-cyclonedx }}/bin':"$PATH" python3 scripts/release.py "$@"

# Built once (one to two minutes); unoptimised is fast enough.
_cargo-cyclonedx:
    @[ -x '{{ cargo-cyclonedx }}/bin/cargo-cyclonedx' ] || { \
        echo 'building cargo-cyclonedx {{ cargo-cyclonedx-version }} into .tools (once)'; \
        cargo install --quiet --locked --debug --root '{{ cargo-cyclonedx }}' 'cargo-cyclonedx@{{ cargo-cyclonedx-version }}'; \
    }
