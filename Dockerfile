# One image a service: docker build --build-arg SERVICE=parser -t sluice-parser .
# SERVICE is parser, chunker, embedder, indexer, costd, or sluice for the all-in-one and the command line.
# Tests of deploy run these steps without a container engine, so they read nothing but /src,
# $OUT and the build image's own files.
FROM golang:1.26 AS build
ARG SERVICE
ARG VERSION=0.1.0
ENV OUT=/out
WORKDIR /src
COPY . .
# The module is built alone, as 'make alone' proves that it can be.
RUN dir=services/$SERVICE; cmd=./cmd/$SERVICE; \
    if [ "$SERVICE" = sluice ]; then dir=cmd/sluice; cmd=.; fi; \
    test -d "$dir/$cmd" || { echo "no service is called '$SERVICE'" >&2; exit 2; }; \
    cd "$dir" && GOWORK=off CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -buildid= -X sluice/pkg/stage.Version=$VERSION -X sluice/cmd/sluice/cli.Version=$VERSION" \
      -o "$OUT/service" "$cmd"
# Folders of the user's, for data, compiled code and temporary files.
RUN mkdir -p "$OUT/data" "$OUT/cache" "$OUT/tmp"
# pdfium as machine code, so that the first PDF does not wait three seconds for it. It fits the
# processor that the image is built on; another one compiles it anew, into /tmp.
RUN case "$SERVICE" in parser|sluice) cd services/parser && GOWORK=off CGO_ENABLED=0 go run -trimpath -buildvcs=false ./cmd/warm "$OUT/cache";; esac

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/cache /cache
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/service /service
ENV SLUICE_PARSER_CACHE_DIR=/cache
USER 65532:65532
ENTRYPOINT ["/service"]
