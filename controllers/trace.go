package controllers

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// Attributes of the span of a reconcile.
const (
	driverAttribute = attribute.Key("imagecsi.driver")
	// idAttribute is what the log lines of the same reconcile have under the key reconcileID.
	idAttribute = attribute.Key("imagecsi.reconcile_id")
)

// start begins the span of a reconcile; its phases have spans below it.
func (r *ImageCSIDriverReconciler) start(ctx context.Context, driver string) (context.Context, trace.Span) {
	return r.Tracer.Start(ctx, "reconcile", trace.WithAttributes(
		driverAttribute.String(driver),
		idAttribute.String(string(controller.ReconcileIDFromContext(ctx))),
	))
}

// span begins the span of a part of a reconcile.
func (r *ImageCSIDriverReconciler) span(ctx context.Context, name string) (context.Context, trace.Span) {
	return r.Tracer.Start(ctx, name)
}

// end ends a span with the error that its function returns; the pointer is to the named result.
func end(span trace.Span, err *error) {
	if *err != nil {
		span.SetStatus(codes.Error, status.Shorten((*err).Error(), maxNote))
	}
	span.End()
}
