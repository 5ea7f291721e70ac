# Two images, as targets: `host` with atelier-host and `etl` with atelier-etl. compose.yaml builds both; docs/docker.md
# explains them.
#
#   docker build --target host --tag atelier-host --build-arg ATELIER_REVISION="$(git log -1 --format='%H %cs')" .

FROM rust:1.95.0-slim-bookworm AS build
# rust-toolchain.toml names `stable`, for which rustup would download a second toolchain.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# The commit and its date, for `--version`: the build has no .git. Without the argument, `--version` has no commit.
ARG ATELIER_REVISION
ARG TARGETARCH
RUN --mount=type=cache,id=atelier-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=atelier-target-$TARGETARCH,target=/src/target,sharing=locked \
    cargo build --release --locked --package etl --package atelier-host && \
    install -D --target-directory=/out target/release/atelier-host target/release/atelier-etl

FROM debian:12.13-slim AS runtime
LABEL org.opencontainers.image.licenses="MIT"
COPY LICENSE /usr/share/doc/atelier/LICENSE
# A user without a name, a home and files.
USER 10001:10001
WORKDIR /tmp

FROM runtime AS etl
LABEL org.opencontainers.image.title="atelier-etl" \
    org.opencontainers.image.description="The loader of Atelier, a product-catalog and cart API"
# For S3. The loader trusts only DATABASE_CA_FILE for a database.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chmod=0755 deploy/docker/load-sample /usr/local/bin/load-sample
COPY --from=build /out/atelier-etl /usr/local/bin/atelier-etl
ENTRYPOINT ["atelier-etl"]
CMD ["--help"]

# The last target is the default of `docker build`.
FROM runtime AS host
LABEL org.opencontainers.image.title="atelier-host" \
    org.opencontainers.image.description="Atelier, a product-catalog and cart API"
COPY --chmod=0755 deploy/docker/healthz /usr/local/bin/healthz
COPY --from=build /out/atelier-host /usr/local/bin/atelier-host
ENV LISTEN=0.0.0.0:3000
EXPOSE 3000
# Reports that the process serves, whether or not it reaches the database. /readyz reports both.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["healthz"]
ENTRYPOINT ["atelier-host"]
