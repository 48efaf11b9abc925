# One image holds all programs: the manager (the operator), the node plugin (in the DaemonSets) and the container that
# runs credential providers next to it. Static binaries,
# no shell, not root by default; the node plugin's DaemonSets set their own user.
# Releases are assembled without a builder (docs/releasing.md).
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build OUT=/out GOOS=$TARGETOS GOARCH=$TARGETARCH ${VERSION:+VERSION=$VERSION}

FROM scratch
COPY --from=build /out/manager /manager
COPY --from=build /out/node-plugin /node-plugin
COPY --from=build /out/credential-provider /credential-provider
# Credential providers ask services of clouds, over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/manager"]
