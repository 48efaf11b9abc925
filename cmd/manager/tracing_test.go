package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/trace/noop"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// collector takes spans by every protocol, as an OpenTelemetry collector does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu      sync.Mutex
	batches []*tracepb.ResourceSpans
	// tenant is the last value of the header of that name.
	tenant string
}

func (c *collector) take(tenant string, request *collectorpb.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches = append(c.batches, request.GetResourceSpans()...)
	c.tenant = tenant
}

// Export takes spans over gRPC.
func (c *collector) Export(ctx context.Context, request *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.take(strings.Join(metadata.ValueFromIncomingContext(ctx, "tenant"), ""), request)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes spans over HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.URL.Path != "/v1/traces" {
		err = errors.New("no such path: " + r.URL.Path)
	}
	request := &collectorpb.ExportTraceServiceRequest{}
	if err == nil && r.Header.Get("Content-Type") == "application/json" {
		err = protojson.Unmarshal(body, request)
	} else if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.take(r.Header.Get("tenant"), request)
}

// spans in the order in which they came.
func (c *collector) spans() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*tracepb.Span
	for _, batch := range c.batches {
		for _, scope := range batch.GetScopeSpans() {
			out = append(out, scope.GetSpans()...)
		}
	}
	return out
}

// trees has, for each trace, the name of every span and that of the span above it.
func (c *collector) trees() []map[string]string {
	names, trees := map[string]string{}, map[string]map[string]string{}
	for _, span := range c.spans() {
		names[string(span.GetSpanId())] = span.GetName()
		trees[string(span.GetTraceId())] = map[string]string{}
	}
	for _, span := range c.spans() {
		trees[string(span.GetTraceId())][span.GetName()] = names[string(span.GetParentSpanId())]
	}
	return slices.Collect(maps.Values(trees))
}

func (c *collector) service() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, batch := range c.batches {
		for _, attribute := range batch.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				return attribute.GetValue().GetStringValue()
			}
		}
	}
	return ""
}

func startCollector(t *testing.T, protocol spanProtocol) (c *collector, endpoint string) {
	t.Helper()
	c = &collector{}
	if protocol != spansOverGRPC {
		server := httptest.NewServer(c)
		t.Cleanup(server.Close)
		return c, server.URL
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	go func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(server.Stop)
	return c, "http://" + listener.Addr().String()
}

func TestSpansGoWhereTheStandardVariablesSay(t *testing.T) {
	for _, protocol := range []spanProtocol{spansOverHTTP, spansAsJSON, spansOverGRPC} {
		t.Run(string(protocol), func(t *testing.T) {
			g := NewWithT(t)
			collector, endpoint := startCollector(t, protocol)
			t.Setenv(endpointEnv, endpoint)
			t.Setenv(protocolEnv, string(protocol))
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=one")
			t.Setenv("OTEL_SERVICE_NAME", "mine")
			read, err := parseTracing(os.Getenv)
			g.Expect(err).NotTo(HaveOccurred())
			tracers, flush, err := startTracing(t.Context(), read, logr.Discard())
			g.Expect(err).NotTo(HaveOccurred())
			_, span := tracers.Tracer("").Start(t.Context(), "work")
			span.End()
			flush()
			g.Expect(collector.spans()).To(HaveLen(1))
			g.Expect(collector.service()).To(Equal("mine"))
			collector.mu.Lock()
			defer collector.mu.Unlock()
			g.Expect(collector.tenant).To(Equal("one"))
		})
	}
}

func TestWithoutAnEndpointNothingIsSetUp(t *testing.T) {
	g := NewWithT(t)
	protocol, err := parseTracing(func(variable string) string { return map[string]string{protocolEnv: "grpc"}[variable] })
	g.Expect(err).NotTo(HaveOccurred())
	tracers, flush, err := startTracing(t.Context(), protocol, logr.Discard())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tracers).To(BeAssignableToTypeOf(noop.TracerProvider{}))
	stacks := make([]byte, 1<<20)
	g.Expect(string(stacks[:runtime.Stack(stacks, true)])).NotTo(ContainSubstring("otel/sdk"))
	flush()
}

func TestParseTracing(t *testing.T) {
	tests := map[string]struct {
		env     map[string]string
		want    spanProtocol
		wantErr string
	}{
		"default":          {env: map[string]string{endpointEnv: "http://c:4318"}, want: spansOverHTTP},
		"traces alone":     {env: map[string]string{tracesEndpointEnv: "https://c/x"}, want: spansOverHTTP},
		"gRPC":             {env: map[string]string{endpointEnv: "http://c:4317", protocolEnv: "grpc"}, want: spansOverGRPC},
		"traces' protocol": {env: map[string]string{endpointEnv: "http://c", protocolEnv: "grpc", tracesProtocolEnv: "http/json"}, want: spansAsJSON},
		"no scheme":        {env: map[string]string{endpointEnv: "user:secret@c:4318"}, wantErr: "$" + endpointEnv},
		"no host":          {env: map[string]string{tracesEndpointEnv: "https:///secret"}, wantErr: "$" + tracesEndpointEnv},
		"no URL":           {env: map[string]string{endpointEnv: "http://secret\x00"}, wantErr: "$" + endpointEnv},
		"unknown protocol": {env: map[string]string{endpointEnv: "http://c", tracesProtocolEnv: "udp"}, wantErr: "$" + tracesProtocolEnv},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseTracing(func(variable string) string { return test.env[variable] })
			if test.wantErr == "" {
				if err != nil || got != test.want {
					t.Errorf("got %q, %v; want %q", got, err, test.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.wantErr) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v does not name %s, or repeats its value", err, test.wantErr)
			}
		})
	}
}

// A collector that takes connections and never answers must neither block the operator's work nor its end.
func TestACollectorThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	g := NewWithT(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = silent.Close() })
	t.Setenv(endpointEnv, "http://user:secret@"+silent.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
	var mu sync.Mutex
	var said string
	log := funcr.New(func(prefix, args string) {
		mu.Lock()
		defer mu.Unlock()
		said += prefix + args
	}, funcr.Options{})
	tracers, flush, err := startTracing(t.Context(), spansOverHTTP, log)
	g.Expect(err).NotTo(HaveOccurred())
	_, span := tracers.Tracer("").Start(t.Context(), "work")
	span.End()
	flushed := make(chan struct{})
	go func() {
		flush()
		close(flushed)
	}()
	g.Eventually(flushed, 3*flushTimeout).Should(BeClosed())
	mu.Lock()
	defer mu.Unlock()
	g.Expect(said).To(And(ContainSubstring("spans are lost"), Not(ContainSubstring("secret"))))
}
