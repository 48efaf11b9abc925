package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/content"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// maxMessage keeps an error fit for an event of the pod; the API server takes 1024 bytes and the kubelet adds some.
const maxMessage = 900

// toStatus maps an error of the layers below to its gRPC code. The kubelet retries every failed publish. After Aborted,
// Unavailable, ResourceExhausted and DeadlineExceeded it also assumes that the volume may be mounted, and unpublishes it if
// the pod ends first.
func toStatus(err error) error {
	message, most := words.Steady(err.Error()), maxMessage
	advice := adviceOn(err)
	if advice == "" || codeOf(err) != codeOfNode(err) {
		return status.Error(codeOf(err), words.Shorten(message, most))
	}
	return status.Error(codeOf(err), words.Shorten(message, most-len(advice)-2)+"; "+advice)
}

// withHint adds to a refusal for lack of access what may be its reason, unless that is empty.
func withHint(err error, hint string) error {
	if hint == "" || codeOf(err) != codes.PermissionDenied || errors.Is(err, imagerules.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}

// codeOf returns Internal only for a defect of the node plugin. Several of those make the plugin unready.
func codeOf(err error) codes.Code {
	var failedPull *pull.Error
	if errors.As(err, &failedPull) && failedPull.Code() != codes.Internal {
		return failedPull.Code()
	}
	for _, known := range []struct {
		err  error
		code codes.Code
	}{
		{errWritable, codes.InvalidArgument},
		{imagerules.ErrRefused, codes.PermissionDenied},
		{imagerules.ErrUnknown, codes.Unavailable},
		{content.ErrRefused, codes.FailedPrecondition},
		{content.ErrUnreadable, codes.Unavailable},
		{volume.ErrInProgress, codes.Aborted},
		{volume.ErrOtherAccess, codes.AlreadyExists},
		{volume.ErrImageChanged, codes.FailedPrecondition},
		{legacy.ErrNotAdoptable, codes.FailedPrecondition},
		{volume.ErrNotPublished, codes.NotFound},
		{volume.ErrNoLimit, codes.FailedPrecondition},
		{volume.ErrTooSmall, codes.FailedPrecondition},
		{hostmount.ErrLimitTooLarge, codes.InvalidArgument},
		{imagestore.ErrNotFound, codes.NotFound},
		{imagestore.ErrUnsupported, codes.FailedPrecondition},
		{imagestore.ErrOtherPlatform, codes.FailedPrecondition},
		{hostmount.ErrOccupied, codes.AlreadyExists},
		{hostmount.ErrBusy, codes.FailedPrecondition},
		{hostmount.ErrNotEmpty, codes.FailedPrecondition},
		{hostmount.ErrTooManyLayers, codes.FailedPrecondition},
		{hostmount.ErrOptionsTooLong, codes.FailedPrecondition},
		{hostmount.ErrBadLayer, codes.FailedPrecondition},
		{hostmount.ErrNotMappable, codes.FailedPrecondition},
		{hostmount.ErrNoEROFS, codes.FailedPrecondition},
		{hostmount.ErrBadEROFS, codes.FailedPrecondition},
		{hostmount.ErrReadOnly, codes.FailedPrecondition},
		{hostmount.ErrBadTarget, codes.InvalidArgument},
		{hostmount.ErrClosed, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	if isAway(err) {
		return codes.Unavailable
	}
	return codeOfNode(err)
}

// isAway reports whether an image store could not reach its runtime, which may be back at the next try. containerd's errors
// have a method for it (github.com/containerd/errdefs), others a gRPC code.
func isAway(err error) bool {
	var unavailable interface{ Unavailable() }
	if errors.As(err, &unavailable) {
		return true
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}
