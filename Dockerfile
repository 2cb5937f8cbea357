# A static binary in an empty image. Mount the configuration:
#   docker run -v ./proxima.yaml:/etc/proxima/proxima.yaml -p 8080:8080 proxima
# Its listen must be 0.0.0.0:8080 to be reached from outside the container.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /proxima ./cmd/proxima

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /proxima /proxima
COPY LICENSE NOTICE /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/proxima"]
CMD ["serve", "-c", "/etc/proxima/proxima.yaml"]
