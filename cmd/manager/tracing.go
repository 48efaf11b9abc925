package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Standard variables of OpenTelemetry (specification, "OpenTelemetry Protocol Exporter"). The exporters read the others
// themselves.
const (
	endpointEnv       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpointEnv = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	protocolEnv       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	tracesProtocolEnv = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
)

// flushTimeout is for the last spans: a collector that does not answer must not keep the next operator waiting.
const flushTimeout = 3 * time.Second

// spanProtocol is how spans are sent.
type spanProtocol string

const (
	noSpans       spanProtocol = ""
	spansOverHTTP spanProtocol = "http/protobuf"
	spansAsJSON   spanProtocol = "http/json"
	spansOverGRPC spanProtocol = "grpc"
)

// parseTracing returns how spans are sent; without an endpoint, none are. It reports wrong values, because with these the
// exporters silently send spans elsewhere.
func parseTracing(getenv func(string) string) (spanProtocol, error) {
	variable, endpoint := first(getenv, tracesEndpointEnv, endpointEnv)
	if endpoint == "" {
		return noSpans, nil
	}
	// The value may hold a password, so it is not repeated.
	if target, err := url.Parse(endpoint); err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
		return noSpans, fmt.Errorf("$%s has to be a URL that begins with http:// or https://, such as http://collector.example:4318", variable)
	}
	variable, name := first(getenv, tracesProtocolEnv, protocolEnv)
	switch protocol := spanProtocol(name); protocol {
	case "":
		return spansOverHTTP, nil
	case spansOverHTTP, spansAsJSON, spansOverGRPC:
		return protocol, nil
	default:
		return noSpans, fmt.Errorf("$%s has to be %s, %s or %s, not %q", variable, spansOverHTTP, spansAsJSON, spansOverGRPC, name)
	}
}

// first returns the first variable that is set, and its value.
func first(getenv func(string) string, variables ...string) (variable, value string) {
	for _, variable := range variables {
		if value := getenv(variable); value != "" {
			return variable, value
		}
	}
	return "", ""
}

// startTracing returns a provider of spans, and a function that sends the last of them at the end. It starts nothing if no
// spans are sent.
func startTracing(ctx context.Context, protocol spanProtocol, log logr.Logger) (_ trace.TracerProvider, flush func(), _ error) {
	if protocol == noSpans {
		return noop.NewTracerProvider(), func() {}, nil
	}
	var exporter sdktrace.SpanExporter
	var err error
	if protocol == spansOverGRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("set up the sending of spans: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("image-csi-operator"), semconv.ServiceVersion(version)),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("describe the operator for its spans by $OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&loggedExporter{exporter, log}), sdktrace.WithResource(about))
	return provider, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Error(err, "The last spans are lost")
		}
	}, nil
}

// loggedExporter logs lost spans to the operator's log; the library has a log of its own.
type loggedExporter struct {
	sdktrace.SpanExporter
	log logr.Logger
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *loggedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.Error(err, "Spans are lost, because they cannot be sent", "spans", len(spans))
	}
	return nil
}
