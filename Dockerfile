# syntax=docker/dockerfile:1
FROM golang:1.26-alpine AS build
WORKDIR /src
# Dependencies first: they change less often than the source.
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
ARG VERSION=dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /middletier ./cmd/middletier

# No shell, no package manager; CA certificates and a non-root user are in it.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /middletier /middletier
EXPOSE 8080
ENTRYPOINT ["/middletier"]
CMD ["serve", "--config", "/etc/middletier/config.yaml"]
