package server

import (
	"context"
	"log/slog"
	"path"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// observe counts and logs every call.
func observe(c Config) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		started := time.Now()
		response, err := handler(ctx, request)
		took := time.Since(started)
		method, code := path.Base(info.FullMethod), status.Code(err).String()
		if c.Observe != nil {
			c.Observe(method, code, took)
		}
		if r, ok := request.(interface{ GetTargetPath() string }); ok && c.Outcome != nil {
			c.Outcome(method, code, r.GetTargetPath())
		}
		level := levelOf(request, err)
		if c.Logger.Enabled(ctx, level) {
			attributes := append([]slog.Attr{slog.String("method", method), slog.String("code", code), slog.String("took", took.String())},
				describe(request)...)
			if err != nil {
				attributes = append(attributes, slog.String("error", status.Convert(err).Message()))
			}
			c.Logger.LogAttrs(ctx, level, "CSI call", attributes...)
		}
		return response, err
	}
}

// levelOf keeps calls that change nothing out of the log, unless they fail.
func levelOf(request any, err error) slog.Level {
	switch code := status.Code(err); {
	case code == codes.Internal:
		return slog.LevelError
	case code != codes.OK:
		return slog.LevelWarn
	}
	switch request.(type) {
	case *csi.NodePublishVolumeRequest, *csi.NodeUnpublishVolumeRequest:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// describe returns the fields of a request that may be logged. It lists those to log, never those to leave out, so the
// secrets of NodePublishVolume stay out of the log because nothing puts them in.
func describe(request any) []slog.Attr {
	switch r := request.(type) {
	case *csi.NodePublishVolumeRequest:
		attributes := r.GetVolumeContext()
		return []slog.Attr{
			slog.String("volume", words.Shorten(r.GetVolumeId(), 256)),
			slog.String("target", words.Shorten(r.GetTargetPath(), 512)),
			slog.String("pod", podOf(attributes)),
			slog.String("image", words.Shorten(imageOf(r.GetVolumeId(), attributes, false), 256)),
			slog.Bool("readOnly", r.GetReadonly()),
		}
	case *csi.NodeUnpublishVolumeRequest:
		return []slog.Attr{
			slog.String("volume", words.Shorten(r.GetVolumeId(), 256)),
			slog.String("target", words.Shorten(r.GetTargetPath(), 512)),
		}
	default:
		return nil
	}
}

// recovered turns a panic into an error of the one call in which it happened. The stack goes only to the log.
func recovered(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		var response any
		var failed error
		if panicked := recoverpanic.Guard(log, path.Base(info.FullMethod), func() error {
			response, failed = handler(ctx, request)
			return nil
		}); panicked != nil {
			return nil, status.Error(codes.Internal, panicked.Error())
		}
		return response, failed
	}
}

// limited gives every call a deadline, also if the caller set none.
func limited(timeout time.Duration) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return handler(ctx, request)
	}
}
