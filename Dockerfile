# One image a service: docker build --build-arg SERVICE=parser -t sluice-parser .
# SERVICE is parser, chunker, embedder, indexer, costd, or sluice for the all-in-one and the command line.
FROM golang:1.26 AS build
ARG SERVICE
ARG VERSION=0.1.0
WORKDIR /src
COPY . .
# The module is built alone, as 'make alone' proves that it can be.
RUN dir=services/$SERVICE/cmd/$SERVICE; mod=services/$SERVICE; \
    if [ "$SERVICE" = sluice ]; then dir=cmd/sluice; mod=cmd/sluice; fi; \
    test -d "$dir" || { echo "no service is called '$SERVICE'" >&2; exit 2; }; \
    cd "$mod" && GOWORK=off CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o /out/service "/src/$dir" && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/service /service
USER 65532:65532
ENTRYPOINT ["/service"]
