# An image of the command typha-tls, built from this checkout: `docker build -t typha-tls:0.1.0 .`
FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked -p typha-tls-cli && strip target/release/typha-tls

# The base image has the glibc of the same Debian, and no other programs. Its user is nonroot, with UID 65532. The
# command adds 18 MB (stripped, x86-64).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/typha-tls /usr/bin/typha-tls
ENTRYPOINT ["/usr/bin/typha-tls"]
