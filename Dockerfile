# The image of ackmark with a container engine: docker build --build-arg VERSION=1.2.3 .
# Without one, and reproducibly: make image (tools/image), which CI builds, reads and runs.
ARG GO=golang:1.26.8-bookworm
ARG BASE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO} AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=true -ldflags="-s -w -buildid=" -o /ackmark ./cmd/ackmark

FROM ${BASE}
ARG VERSION=0.0.0-dev
LABEL org.opencontainers.image.title="ackmark" \
      org.opencontainers.image.description="The Kafka producer of a pod, and the tools around it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/ackmark/ackmark" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /ackmark /ackmark
USER 65532:65532
ENTRYPOINT ["/ackmark"]
