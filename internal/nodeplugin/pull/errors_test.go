package pull

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words/wordstest"
)

func TestWordsOfTheRuntimesAreUnderstood(t *testing.T) {
	tests := []struct {
		code    codes.Code
		message string
		want    Kind
		reply   codes.Code
	}{
		{codes.NotFound, `failed to pull and unpack image "r.example/app:1": failed to resolve image: r.example/app:1: not found`, NotFound, codes.NotFound},
		{codes.Unknown, `reading manifest 1 in r.example/app: manifest unknown`, NotFound, codes.NotFound},
		{codes.Unknown, `pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`, Denied, codes.PermissionDenied},
		{codes.Unknown, `failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized`, Denied, codes.PermissionDenied},
		{codes.Unknown, `unable to retrieve auth token: invalid username/password: unauthorized: access token has insufficient scopes`, Denied, codes.PermissionDenied},
		{codes.Unknown, `unexpected status code 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit`, RateLimited, codes.ResourceExhausted},
		{codes.Unknown, `failed to extract layer: write /data: no space left on device`, NoSpace, codes.ResourceExhausted},
		{codes.Unknown, `dial tcp: lookup r.example on 10.0.0.10:53: no such host`, Unreachable, codes.Unavailable},
		{codes.Unknown, `dial tcp 10.0.0.1:443: connect: connection refused`, Unreachable, codes.Unavailable},
		{codes.Unknown, `Get "https://r.example/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`, Unreachable, codes.Unavailable},
		{codes.Unavailable, `registry answered 503 Service Unavailable`, Failing, codes.Unavailable},
		{codes.DeadlineExceeded, `context deadline exceeded`, Unreachable, codes.Unavailable},
		{codes.Canceled, `context canceled`, Interrupted, codes.Unavailable},
		{codes.Canceled, `copying config: context canceled`, Interrupted, codes.Unavailable},
		{codes.Unknown, `copying system image from manifest list: writing blob: Get "https://r.example/v2/app/blobs/sha256:1": context canceled`, Interrupted, codes.Unavailable},
		{codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial unix /run/x.sock: connect: connection refused"`, RuntimeDown, codes.Unavailable},
		{codes.Unavailable, `error reading from server: EOF`, RuntimeDown, codes.Unavailable},
		{codes.Unavailable, `connection error: desc = "error reading server preface: connection reset by peer"`, RuntimeDown, codes.Unavailable},
		{codes.Unknown, `SignatureValidationFailed: Source image rejected: A signature was required`, Untrusted, codes.PermissionDenied},
		{codes.Unknown, `SignatureValidationFailed: Source image rejected: Running image docker://r.example/app:1 is rejected by policy.`, Untrusted, codes.PermissionDenied},
		{codes.Unknown, `image verifier io.containerd.image-verifier.v1.bindir blocked pull of r.example/app:1 with digest sha256:1 for reason: ` +
			`verifier cosign rejected image (exit code 1): digest mismatch, no space left on device, not found`, Untrusted, codes.PermissionDenied},
		{codes.Unknown, `blocking pull of r.example/app:1 with digest sha256:1: image verifier bindir returned error: context deadline exceeded`, Unknown, codes.Unavailable},
		{codes.NotFound, `get image config descriptor: no match for platform in manifest sha256:92: not found`, OtherNodes, codes.FailedPrecondition},
		{codes.Unknown, `choosing an image from manifest list docker://r.example/app:1: no image found in image index for architecture "amd64", variant "", OS "linux"`, OtherNodes, codes.FailedPrecondition},
		{codes.Unknown, `failed to extract layer sha256:33: mount callback failed on /tmp/containerd-mount1: unexpected EOF: unknown`, Damaged, codes.FailedPrecondition},
		{codes.Unknown, `failed to extract layer sha256:33: mount callback failed on /tmp/containerd-mount1: write /x: no space left on device`, NoSpace, codes.ResourceExhausted},
		{codes.Unknown, `writing blob: layer 0 (blob "sha256:33") does not match config's DiffID "sha256:00"`, Damaged, codes.FailedPrecondition},
		{codes.Internal, `something else`, Unknown, codes.Unavailable},
		{codes.Unknown, `failed to resolve image: unexpected status from HEAD request to http://r.example/v2/app/manifests/1: 400 Bad Request`, Failing, codes.Unavailable},
		{codes.Unknown, `pulling from host r.example failed with status code [manifests 1]: 400 Bad Request`, Failing, codes.Unavailable},
		{codes.Unknown, `reading manifest 1 in r.example/app: unknown: bad request`, Unknown, codes.Unavailable},
		{codes.Unknown, `failed to fetch oauth token: unexpected status from POST request to https://auth.example/token: 418 I'm a teapot`, Failing, codes.Unavailable},
		{codes.Unknown, `reading manifest 1 in r.example/app: received unexpected HTTP status: 405 Method Not Allowed`, Failing, codes.Unavailable},
		{codes.Unknown, `pinging container registry r.example: invalid status code from registry 400 (Bad Request)`, Failing, codes.Unavailable},
		{codes.Unknown, `reading manifest 1 in r.example/app: StatusCode: 400, "<html>bad request</html>"`, Failing, codes.Unavailable},
		{codes.Unknown, `reading blob sha256:33: error parsing HTTP 409 response body: invalid character '<' looking for beginning of value: "<html>"`, Failing, codes.Unavailable},
		{codes.Unknown, `reading manifest 1 in r.example/app: unknown: forbidden`, Denied, codes.PermissionDenied},
		{codes.Unknown, `unexpected status from HEAD request to http://r.example/v2/app/manifests/1: 500 Internal Server Error`, Failing, codes.Unavailable},
		{codes.Unknown, `short read: expected 243 bytes but got 121: unexpected EOF`, Failing, codes.Unavailable},
		{codes.Unknown, `short read: expected 1233401 bytes but got 401 bytes: unexpected EOF`, Failing, codes.Unavailable},
		{codes.Unknown, `failed to copy: short read: expected 429 bytes but got 12: unexpected EOF`, Failing, codes.Unavailable},
		{codes.Unknown, `failed to prepare extraction snapshot "extract-1-x sha256:33": mkdir /var/lib/containerd/snapshots/new-1: permission denied: unknown`, Unknown, codes.Unavailable},
		{codes.Unknown, `failed to copy: open /var/lib/containerd/ingest/3/data: permission denied: unknown`, Unknown, codes.Unavailable},
		{codes.Unknown, `reading manifest 1 in r.example/app: denied: permission denied: ask its owner`, Denied, codes.PermissionDenied},
		{codes.Unknown, `parsing image configuration: Download config.json digest sha256:1 does not match expected sha256:2`, Corrupt, codes.DataLoss},
		{codes.Unknown, `writing blob: storing blob to file "/var/tmp/storage1/1": flate: corrupt input before offset 589861`, Corrupt, codes.DataLoss},
		{codes.InvalidArgument, `failed to pull and unpack image "r.example/app:1": schema 1 image manifests are no longer supported: invalid argument`, Unsupported, codes.FailedPrecondition},
		{codes.Unimplemented, `not implemented: media type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer supported since containerd v2.0, please rebuild the image as "a" or "b"`, Unsupported, codes.FailedPrecondition},
		{codes.Unknown, `unable to pull image or OCI artifact: pull image err: copying system image from manifest list: Unexpectedly received a manifest list instead of a manifest for a single image; artifact err: x`, Unsupported, codes.FailedPrecondition},
		{codes.NotFound, `unexpected media type text/html for sha256:1: not found`, Unsupported, codes.FailedPrecondition},
		{codes.Unknown, `failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip+encrypted sha256:1) to overlayfs as "extract-1-x sha256:2": failed to get stream processor for application/vnd.oci.image.layer.v1.tar+gzip+encrypted: no processor for media-type: unknown`, Unsupported, codes.FailedPrecondition},
		{codes.Unknown, `cannot parse input: "[::1]:5000/app:1": normalize image: parse reference: invalid reference format`, Unsupported, codes.FailedPrecondition},
		{codes.Unknown, `unable to pull image or OCI artifact: pull image err: initializing image from source docker://r.example/app:1: no FSLayers in manifest; artifact err: x`, Unsupported, codes.FailedPrecondition},
		{codes.Unknown, `failed to pull and unpack image "r.example/app:1": no signatures`, Unsupported, codes.FailedPrecondition}, // schema 1, containerd 1.6
		{codes.InvalidArgument, `something that is not known yet`, Unsupported, codes.FailedPrecondition},
		{codes.Unimplemented, `something else that is not known yet`, Unsupported, codes.FailedPrecondition},
		{codes.Unimplemented, `unknown service runtime.v1.ImageService`, RuntimeDown, codes.Unavailable},
		{codes.Unknown, `failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip sha256:1) to overlayfs as "extract-412513388-oPfv sha256:2": link /a /b: no such file or directory`, Damaged, codes.FailedPrecondition},
		{codes.Unknown, `writing blob: adding layer with blob "sha256:1": unpacking failed (error: exit status 1; output: no such file or directory)`, Damaged, codes.FailedPrecondition},
		{codes.Unknown, `writing blob: adding layer with blob "sha256:1": unpacking failed (error: exit status 1; output: unexpected EOF)`, Damaged, codes.FailedPrecondition},
		{codes.Unknown, `writing blob: adding layer with blob "sha256:1": unpacking failed (error: signal: killed; output: )`, Unknown, codes.Unavailable},
		{codes.Unknown, `failed to extract layer (x sha256:1) to overlayfs as "extract-1-x sha256:2": read /a: input/output error`, Unknown, codes.Unavailable},
		{codes.Unknown, `failed to extract layer (x sha256:1) to overlayfs as "extract-1-x sha256:2": failed to mount /tmp/containerd-mount1: no space left on device`, NoSpace, codes.ResourceExhausted},
		{codes.Canceled, `failed to extract layer (x sha256:1) to overlayfs as "extract-1-x sha256:2": context canceled`, Unknown, codes.Unavailable},
		{codes.FailedPrecondition, `failed commit on ref "config-sha256:1": failed size validation: 5 != 6: failed precondition`, Corrupt, codes.DataLoss},
		{codes.FailedPrecondition, `failed commit on ref "config-sha256:1": unexpected commit digest sha256:2, expected sha256:1: failed precondition`, Corrupt, codes.DataLoss},
	}
	for _, tt := range tests {
		t.Run(tt.message, func(t *testing.T) {
			e := classify(context.Background(), "r.example/app:1", status.Error(tt.code, tt.message))
			if e.Kind != tt.want || e.Code() != tt.reply {
				t.Errorf("got %s (%s), want %s (%s)", e.Kind, e.Code(), tt.want, tt.reply)
			}
			if !strings.Contains(e.Error(), "r.example/app:1") {
				t.Errorf("the sentence does not name the image: %s", e)
			}
		})
	}
}

func TestEveryKindHasASentenceAndACode(t *testing.T) {
	for kind, k := range kinds {
		if k.code == codes.OK || strings.Count(k.sentence, "%s") != 1 {
			t.Errorf("kind %s: code %s, sentence %q", kind, k.code, k.sentence)
		}
	}
}

func TestANameWithTellingWordsTellsNothing(t *testing.T) {
	const image = "r.example/denied/manifest-unknown/forbidden:1"
	if e := classify(context.Background(), image, errors.New("pulling "+image+": something else")); e.Kind != Unknown {
		t.Errorf("got %s", e.Kind)
	}
}

func TestATagOrADigestWithTellingWordsTellsNothing(t *testing.T) {
	for image, said := range map[string]string{
		"r.example/app:manifest-unknown":                  "reading manifest manifest-unknown in r.example/app: something else",
		"r.example/app:forbidden":                         `failed to pull "r.example/app:forbidden" from http://r.example/v2/app/manifests/forbidden: something else`,
		"r.example/app@sha256:" + strings.Repeat("0", 64): "layer sha256:" + strings.Repeat("4", 61) + "429 : something else",
		"r.example/app:1":                                 "layer sha256:" + strings.Repeat("4", 61) + "401 : something else",
	} {
		if e := classify(context.Background(), image, errors.New(said)); e.Kind != Unknown {
			t.Errorf("%s: got %s", said, e.Kind)
		}
	}
}

func TestWhatWillNeverWorkComesWithAdvice(t *testing.T) {
	for said, want := range map[string]string{
		"Unexpectedly received a manifest list instead of a manifest for a single image": "name the inner index, or the image in it, by its digest",
		`cannot parse input: "[::1]:5000/app:1": invalid reference format`:               "needs a host name",
		"schema 1 image manifests are no longer supported: invalid argument":             "build it again",
		"unsupported MIME type for compression: \"a/b\"":                                 "build it again",
	} {
		e := classify(context.Background(), "r.example/app:1", status.Error(codes.Unknown, said))
		if text := e.Error(); e.Kind != Unsupported || !strings.Contains(text, want) || strings.Contains(text, "try again") {
			t.Errorf("%s: %s, %s", said, e.Kind, text)
		}
	}
}

// Kubernetes counts events with equal text, and makes a new event for any other.
func TestEachTryIsToldInTheSameWordsWithTheCause(t *testing.T) {
	const extract = `failed to pull and unpack image "r.example/app:1": failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip sha256:%[1]s) to overlayfs ` +
		`as "extract-%[2]d-oPfv sha256:%[1]s": link /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%[2]d/fs/%[3]s ` +
		`/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%[2]d/fs/b: no such file or directory: unknown`
	told := map[string]bool{}
	for try := range 3 {
		said := fmt.Sprintf(extract, strings.Repeat("0a", 32), 412513388+try, strings.Repeat("long/", 60))
		text := classify(context.Background(), "r.example/app:1", status.Error(codes.Unknown, said)).Error()
		told[text] = true
		if !strings.HasSuffix(text, "no such file or directory: unknown)") || !strings.Contains(text, "failed to extract layer") {
			t.Errorf("the cause is lost: %s", text)
		}
	}
	if len(told) != 1 {
		t.Errorf("told in %d ways: %v", len(told), told)
	}
}

func TestOnlyTheCauseOfARuntimesErrorIsPassedOn(t *testing.T) {
	for said, want := range map[string]string{
		`failed to pull and unpack image "r.example/app:1": failed to resolve image: unexpected status: 500`:                      "unexpected status: 500",
		`failed to pull and unpack image "r.example/app:1": failed to resolve reference "r.example/app:1": dial tcp: i/o timeout`: "dial tcp: i/o timeout",
		`unable to pull image or OCI artifact: pull image err: initializing source docker://r.example/app:1: reading manifest 1 in r.example/app: unauthorized; ` +
			`artifact err: image reference: get manifest from ref: create image source: reading manifest 1 in r.example/app: unauthorized`: "reading manifest 1 in r.example/app: unauthorized",
		`RegistryUnavailable: unable to pull image: initializing source docker://r.example/app:1: dial tcp: connection refused`: "dial tcp: connection refused",
		"something else": "something else",
	} {
		if got := plain(errors.New(said)); got != want {
			t.Errorf("%q becomes %q, want %q", said, got, want)
		}
	}
}

func TestErrorsAreShortAndHideSignedURLs(t *testing.T) {
	cause := errors.New("Get \"https://user:pw@blobs.example/x?X-Amz-Signature=s3cret\":\n boom " + strings.Repeat("y", 5000))
	text := newError(Unknown, "r.example/app:1", cause).Error()
	for _, hidden := range []string{"s3cret", "user:pw", "\n"} {
		if strings.Contains(text, hidden) {
			t.Errorf("%q is in %q", hidden, text)
		}
	}
	if !strings.Contains(text, "blobs.example/x") || len(text) > 2*maxCauseBytes {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

// A registry's answer is as long as the registry likes, and a tenant may run one.
func TestTheCostOfAnErrorIsBounded(t *testing.T) {
	for _, part := range []string{"a", "1.1.1.1:", "https://", "sha256:"} {
		var failed *Error
		wordstest.CostIsBounded(t, part, func(filling string) func() {
			said := status.Error(codes.Unknown, "unexpected status: 401 Unauthorized - Server message: "+filling+": connection refused")
			return func() { failed = classify(t.Context(), "r.example/app:1", said) }
		})
		if failed.Kind != Denied || !strings.Contains(failed.Error(), "connection refused") {
			t.Errorf("%s: %.200s", failed.Kind, failed.Error())
		}
	}
}

func TestEveryKindHasACodeAndASentenceThatNamesTheImage(t *testing.T) {
	for _, kind := range []Kind{
		NotFound, NotPresent, Denied, NotYours, Unproven, Unreachable, Failing, Corrupt, NoSpace, RateLimited, OtherNodes, Damaged,
		Unsupported, TooLarge, Untrusted, RuntimeDown, StillPulling, Interrupted, Abandoned, Defect, Unknown,
	} {
		err := newError(kind, "r.example/app:1", nil)
		if err.Code() == codes.OK || !strings.Contains(err.Error(), "image r.example/app:1") || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %s, %q", kind, err.Code(), err)
		}
	}
	if n := len(kinds); n != 21 {
		t.Errorf("the table has %d kinds, and this test 21", n)
	}
}
