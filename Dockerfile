# One image holds both programs: the manager (the operator) and the node plugin (in the DaemonSets). Static binaries,
# no shell, not root by default; the node plugin's DaemonSets set their own user.
# hack/cluster assembles the same layout without a builder.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build OUT=/out GOOS=$TARGETOS GOARCH=$TARGETARCH VERSION=$VERSION

FROM scratch
COPY --from=build /out/manager /manager
COPY --from=build /out/node-plugin /node-plugin
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/manager"]
