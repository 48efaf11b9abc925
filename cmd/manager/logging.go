package main

import (
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
	handler := repeats.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), slog.LevelWarn)
	logger := logr.FromSlogHandler(handler)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	slog.SetDefault(slog.New(handler))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Error(err, "Spans cannot be sent") }))
}
