# syntax=docker/dockerfile:1
# The image of paper-engine-orders: the program, the authorities it trusts, and the example model for `migrate --model`.
#
#     docker build -t paper-engine-orders .
#     docker run --rm --env-file paper-engine-orders.env paper-engine-orders
#
# Loading needs temporary room (a reload's difference, rows to be sorted) in unnamed files in /tmp, which must be writable.
# With --read-only give it one: --tmpfs /tmp holds it in memory, a volume on /tmp on disk.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock config.env.sample ./
COPY src src
COPY db db
# The caches outlive a build, not the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked \
    && cp target/release/paper-engine-orders /paper-engine-orders

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin loader
COPY --from=build /paper-engine-orders /usr/local/bin/paper-engine-orders
COPY db/model /usr/share/paper-engine-orders/model

USER 10001
WORKDIR /tmp
# Given, so that a run-once listens too. Empty switches it off.
ENV METRICS=0.0.0.0:9464
EXPOSE 9464

# Alive, as the program itself says. There is no curl here, but bash is part of Debian and can speak to a port. This asks
# at 127.0.0.1, so METRICS should be 0.0.0.0 or 127.0.0.1 with any port; without METRICS there is nothing to ask.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["bash", "-c", "port=${METRICS##*:}; port=${port//[^0-9]/}; [ -n \"$port\" ] || exit 0; exec 3<>\"/dev/tcp/127.0.0.1/$port\" && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -t 3 line <&3 && [[ $line == *' 200 '* ]]"]

# A stop (SIGTERM) gives the delivery in hand 20 seconds: run with --stop-timeout 30. Killed sooner, nothing is lost.
ENTRYPOINT ["paper-engine-orders"]
