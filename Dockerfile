# syntax=docker/dockerfile:1
# The image of paper-engine-orders: the program, the authorities it trusts, and the example model for `migrate --model`.
#
#     docker build -t paper-engine-orders .
#     docker run --rm --env-file paper-engine-orders.env paper-engine-orders
#
# Loading needs temporary room (a reload's difference, rows to be sorted) in unnamed files in /tmp, which must be writable.
# With --read-only give it one: --tmpfs /tmp holds it in memory, a volume on /tmp on disk. docs/deploying.md has more.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The dependencies and the shared crates first, with a program that does nothing: this layer is built again only when they
# change.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked
COPY Cargo.toml askama.toml config.env.sample ./
COPY src src
COPY db db
# Cargo goes by the files' times, and those of a checkout may be older than that program's.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked

# Nothing is run or installed from here on: what is added are the lines below.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/paper-engine-orders /usr/local/bin/paper-engine-orders
COPY deploy/docker/healthcheck /usr/local/bin/healthcheck
COPY db/model /usr/share/paper-engine-orders/model

# A number and no name: Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /tmp
# Given, so that a run-once listens too. Empty switches it off.
ENV METRICS=0.0.0.0:9464
EXPOSE 9464
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["healthcheck"]

# A stop (SIGTERM) gives the delivery in hand 20 seconds: run with --stop-timeout 30. Killed sooner, nothing is lost.
ENTRYPOINT ["paper-engine-orders"]

# Last, for they change with every build: --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD)
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="paper-engine-orders" \
      org.opencontainers.image.description="Keeps Postgres tables identical to a feed of gzip CSV files in S3, and tells what each file changed" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
