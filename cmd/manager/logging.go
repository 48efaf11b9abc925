package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/image-csi/image-csi-operator/internal/repeats"
)

// logTo has everything in this process write its log to one place in one form, JSON: our own code and controller-runtime, client-go with
// the leader election and the provisioning library, which use klog, the libraries that use Go's own loggers, and OpenTelemetry.
// What repeats is said once.
func logTo(out io.Writer, level slog.Level) {
	handler := repeats.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: writable}), slog.LevelWarn)
	logger := logr.FromSlogHandler(handler)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	slog.SetDefault(slog.New(handler))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Error(err, "Spans cannot be sent") }))
}

// writable gives what JSON cannot write, as controller-runtime's sources of events, which hold functions, the name that it has for people.
func writable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	value := a.Value.Any()
	if _, err := json.Marshal(value); err == nil {
		return a
	}
	switch named := value.(type) {
	case error:
		return slog.String(a.Key, named.Error())
	case fmt.Stringer:
		return slog.String(a.Key, named.String())
	}
	return slog.String(a.Key, fmt.Sprintf("%T", value))
}
