package pull

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// Kind is why an image is not available.
type Kind string

// The kinds of failure.
const (
	NotFound     Kind = "NotFound"     // the registry has no such image
	NotPresent   Kind = "NotPresent"   // the node has no such image and the policy is Never
	Denied       Kind = "Denied"       // the registry refuses the credentials, or requires some
	NotYours     Kind = "NotYours"     // the image is on the node, and the registry refuses the caller's credentials
	Unproven     Kind = "Unproven"     // the same, and the policy Never forbids to ask the registry
	Unreachable  Kind = "Unreachable"  // the registry cannot be reached
	Failing      Kind = "Failing"      // the registry answers with a failure of its own, or stops in the middle
	Corrupt      Kind = "Corrupt"      // the registry's content does not match its digest
	NoSpace      Kind = "NoSpace"      // the node's disk is full
	RateLimited  Kind = "RateLimited"  // the registry limits the rate of requests
	OtherNodes   Kind = "OtherNodes"   // the registry has the image for other platforms only
	Damaged      Kind = "Damaged"      // the runtime cannot unpack what the registry holds
	Unsupported  Kind = "Unsupported"  // the runtime does not take images of this form or name
	TooLarge     Kind = "TooLarge"     // larger than the administrator's limit
	Untrusted    Kind = "Untrusted"    // the runtime's signature policy or image verifier refuses the image
	RuntimeDown  Kind = "RuntimeDown"  // the container runtime does not answer
	StillPulling Kind = "StillPulling" // the pull goes on; ask again
	Interrupted  Kind = "Interrupted"  // the runtime ended the pull, as CRI-O does for all who wait for it once the first of them is gone
	Abandoned    Kind = "Abandoned"    // no call asked for it any longer, and others waited
	Defect       Kind = "Defect"       // the node plugin cannot do its own part
	Unknown      Kind = "Unknown"      // anything else; see the runtime's message
)

// kinds holds, for each Kind, the gRPC code and the sentence for the pod's event, which names the image. The codes
// Aborted, Unavailable and ResourceExhausted make the kubelet treat the volume as uncertain, so that it unpublishes
// it even if the pod goes away before the next try. Internal is for the node plugin's own faults, which make it unready; an
// image or a registry must not cause it.
var kinds = map[Kind]struct { //nolint:gochecknoglobals // a table that nothing changes
	code     codes.Code
	sentence string
}{
	NotFound:     {codes.NotFound, "image %s does not exist in its registry; check the name and the tag"},
	NotPresent:   {codes.NotFound, "image %s is not on this node and pullPolicy is Never; bring it to the node or use IfNotPresent"},
	Denied:       {codes.PermissionDenied, "the registry refuses to give out image %s"},
	NotYours:     {codes.PermissionDenied, "image %s is on this node, but the registry does not give it to this volume"},
	Unproven:     {codes.PermissionDenied, "image %s is on this node, but this volume's credentials have not opened it here before, and pullPolicy Never forbids to ask the registry; use IfNotPresent"},
	Unreachable:  {codes.Unavailable, "the registry of image %s cannot be reached from this node; the kubelet will try again"},
	Failing:      {codes.Unavailable, "the registry of image %s fails to give it out; the kubelet will try again"},
	Corrupt:      {codes.DataLoss, "the registry gives out a corrupt image %s; it must be pushed again, or the registry's cache emptied"},
	NoSpace:      {codes.ResourceExhausted, "this node has no space left for image %s"},
	RateLimited:  {codes.ResourceExhausted, "the registry of image %s limits the rate of pulls; credentials in nodePublishSecretRef may raise the limit"},
	OtherNodes:   {codes.FailedPrecondition, "image %s exists, but not for this node's operating system and architecture; push it for that platform, or keep the pod off such nodes"},
	Damaged:      {codes.FailedPrecondition, "image %s cannot be unpacked: what its registry holds is damaged or is no container image; build and push it again"},
	Unsupported:  {codes.FailedPrecondition, "this node's container runtime does not support image %s"},
	TooLarge:     {codes.FailedPrecondition, "image %s is larger than this driver's limit"},
	Untrusted:    {codes.PermissionDenied, "image %s is not trusted: this node's policy for images refuses it; use an image that the policy allows, such as a signed one"},
	RuntimeDown:  {codes.Unavailable, "the container runtime did not answer about image %s; the kubelet will try again"},
	StillPulling: {codes.Aborted, "image %s is being pulled; the kubelet will try again"},
	Interrupted:  {codes.Unavailable, "the container runtime ended the pull of image %s before it was complete; the kubelet will try again"},
	Abandoned:    {codes.Aborted, "the pull of image %s was ended; the next try starts it again"},
	Defect:       {codes.Internal, "image %s could not be pulled by this node's CSI node plugin"},
	Unknown:      {codes.Unavailable, "image %s could not be pulled; the kubelet will try again"},
}

// Error is a failed Ensure. Its text is one sentence for the pod's event.
type Error struct {
	Kind  Kind
	Image string
	text  string
	hint  string // a further note for the reader; may be empty
	cause error

	detail string // of a refusal: which credentials were refused, and what to do; then text does not contain the cause
}

func (e *Error) Error() string {
	text := e.text
	if e.detail != "" {
		text += "; " + e.detail + saying(e.cause)
	}
	if e.hint == "" {
		return text
	}
	return text + "; " + e.hint
}

// with returns the error with a hint.
func (e *Error) with(hint string) *Error {
	hinted := *e
	hinted.hint = words.Shorten(hint, maxCauseBytes)
	return &hinted
}

// Unwrap returns the runtime's error, or the context's.
func (e *Error) Unwrap() error { return e.cause }

// Code returns the gRPC code of the CSI server's answer.
func (e *Error) Code() codes.Code {
	return kinds[e.Kind].code
}

func newError(kind Kind, image string, cause error) *Error {
	return &Error{Kind: kind, Image: image, text: fmt.Sprintf(kinds[kind].sentence, image) + saying(cause), cause: cause}
}

// saying returns the runtime's own message, in brackets.
func saying(cause error) string {
	if cause == nil {
		return ""
	}
	return " (the runtime says: " + plain(cause) + ")"
}

// hints are words in runtimes' messages that show why a pull failed, because both containerd and CRI-O answer most failures with
// the code Unknown. The most specific ones come first: Docker Hub says "pull access denied, repository does not exist".
var hints = []struct { //nolint:gochecknoglobals // a table that nothing changes
	kind  Kind
	words []string
}{
	// First, because an image verifier may use any words for its reason (containerd, transfer service; cri-api, pkg/errors).
	// A verifier that fails has not refused.
	{Untrusted, []string{" blocked pull of ", "signaturevalidationfailed", "signature validation failed", "source image rejected"}},
	{Unknown, []string{"blocking pull of "}},
	{NoSpace, []string{"no space left on device", "disk quota exceeded"}},
	{OtherNodes, []string{"no match for platform", "no image found in image index for architecture", "no image found in manifest list for architecture"}},
	{Corrupt, []string{"unexpected commit digest", "digest did not match", "digest mismatch", "does not match expected", "failed size validation"}},
	{Unsupported, nested},
	{Unsupported, unnameable},
	{Unsupported, []string{
		"schema 1 ", "no longer supported", "unsupported schema version", "unsupported media type", "unsupported mediatype", "unexpected media type",
		"unknown media type", "unrecognised mediatype", "media-type: ", "unsupported mime type", "unimplemented manifest", "unsupported ociv1 media type",
		"unsupported docker v2s2 media type", "stream processor", "unsupported compression", "unsupported digest algorithm", "unsupported erofs layer",
		"needed for decryption", "key unwrapper", "no fslayers in manifest", "length of history not equal", "parsing v2s1", "no signatures",
	}},
	{Damaged, []string{"failed to extract layer", "mount callback failed", "unpacking failed", "applylayer", "error processing tar file", "archive/tar:", "wrong diff id", "does not match config's diffid", "layers and diffids don't match", "mismatched image rootfs and manifest layers", "unmarshal image config", "parsing image configuration"}},
	{RateLimited, []string{"toomanyrequests", "too many requests", ": 429 ", "status code 429 "}},
	{Denied, []string{"unauthorized", "access denied", "denied:", "authorization failed", "authentication required", "insufficient_scope", "forbidden", ": 401 ", "no basic auth credentials", "invalid username/password"}},
	{Corrupt, []string{"corrupt input", "gzip: invalid"}},
	{NotFound, []string{"not found", "manifest unknown", "name unknown", "no such image"}},
	{Unreachable, []string{"no such host", "connection refused", "connection reset", "i/o timeout", "no route to host", "network is unreachable", "tls handshake", "server misbehaving", "registryunavailable", "context deadline exceeded", "x509:"}},
	{Failing, []string{"internal server error", "service unavailable", "bad gateway", "gateway timeout", "unexpected eof", ": eof", "short read", "requested range not satisfiable"}},
	// Any other answer of a registry, as containerd and CRI-O report it.
	{Failing, []string{"unexpected status", "unexpected http status", "failed with status code", "invalid status code from registry", "statuscode: ", "error parsing http"}},
	{Interrupted, []string{"context canceled"}},
}

// Words for an index within an index, and for a name that the runtime does not accept.
var (
	nested     = []string{"received a manifest list instead of a manifest", "treating manifest lists as individual manifests"}        //nolint:gochecknoglobals // as above
	unnameable = []string{"invalid reference format", "cannot parse input", "could not parse reference", "failed to parse reference"} //nolint:gochecknoglobals // as above
)

// advice returns what to do about an image that a runtime does not support.
func advice(message string) string {
	switch {
	case containsAny(message, nested):
		return "it is an index within an index, which CRI-O does not read: name the inner index, or the image in it, by its digest"
	case containsAny(message, unnameable):
		return "it does not accept this name: a registry that is named by an IPv6 address needs a host name"
	default:
		return "build it again and push it as an OCI image"
	}
}

// nodeTrouble are words for failures of the node during unpacking, which are not the image's fault.
var nodeTrouble = []string{ //nolint:gochecknoglobals // as above
	"context canceled", "context deadline exceeded", "input/output error", "cannot allocate memory", "too many open files",
	"resource temporarily unavailable", "device or resource busy", "signal: ", "read-only file system", "stale file handle",
	"permission denied", "operation not permitted", "operation not supported", "failed to mount", "failed to prepare", "structure needs cleaning",
}

// runtimeAway are gRPC's own words for a runtime that stopped or has not started yet.
var runtimeAway = []string{ //nolint:gochecknoglobals // a table that nothing changes
	"connection error: desc", "dial unix", "error reading from server", "transport is closing", "connection is closing", "not initialized",
}

// classify turns an error of a runtime call into an Error. A call that ended with ctx had no answer.
func classify(ctx context.Context, image string, err error) *Error {
	if ctx.Err() != nil {
		return newError(RuntimeDown, image, err)
	}
	text := words.Shorten(status.Convert(err).Message(), maxErrorBytes)
	message := withoutNames(strings.ToLower(text), strings.ToLower(image))
	kind := kindOfWords(status.Code(err), message)
	if kind == Unsupported {
		return newError(kind, image, err).with(advice(message))
	}
	return newError(kind, image, err)
}

// encoded is a digest's hexadecimal part, whose end may look like an HTTP status.
var encoded = regexp.MustCompile(`[0-9a-f]{32,}`)

// withoutNames removes names from a message, because they may contain any of the words.
func withoutNames(message, image string) string {
	repository := strings.ToLower(repositoryOf(image))
	if tag := strings.TrimPrefix(image, repository+":"); tag != image {
		for _, where := range []string{repository + ":%s", "reading manifest %s in", "/manifests/%s"} {
			message = strings.ReplaceAll(message, fmt.Sprintf(where, tag), "")
		}
	}
	return encoded.ReplaceAllString(strings.ReplaceAll(message, repository, ""), "")
}

// withoutKernel removes the node's own refusal (EACCES, errno(3)), which is not the registry's.
func withoutKernel(message string) string {
	return strings.ReplaceAll(message, ": permission denied", "")
}

func kindOfWords(code codes.Code, message string) Kind {
	if (code == codes.Unavailable && containsAny(message, runtimeAway)) ||
		(code == codes.Unimplemented && strings.Contains(message, "unknown service")) {
		return RuntimeDown
	}
	for _, h := range hints {
		switch {
		case !containsAny(message, h.words):
		case h.kind == Denied && !containsAny(withoutKernel(message), h.words):
		case h.kind == Damaged && containsAny(message, nodeTrouble):
			return Unknown
		default:
			return h.kind
		}
	}
	return kindOfCode(code)
}

// kindOfCode is for errors whose message has none of the words.
func kindOfCode(code codes.Code) Kind {
	switch code {
	case codes.NotFound:
		return NotFound
	case codes.PermissionDenied, codes.Unauthenticated:
		return Denied
	case codes.InvalidArgument, codes.Unimplemented:
		return Unsupported // the same call gets the same answer
	case codes.ResourceExhausted:
		return NoSpace
	case codes.Canceled:
		return Interrupted
	case codes.Unavailable, codes.DeadlineExceeded:
		// The caller still waits, so the runtime itself had no answer.
		return Unreachable
	default:
		return Unknown
	}
}

func containsAny(s string, list []string) bool {
	return slices.ContainsFunc(list, func(word string) bool { return strings.Contains(s, word) })
}

// queryPattern finds the parts of redirect URLs that may contain a signature or a password.
var queryPattern = regexp.MustCompile(`(https?://)([^\s"@/]*@)?([^\s"?]*)(\?[^\s"]*)?`)

// maxErrorBytes bounds what is read of a runtime's error, which repeats a registry's answer of any length.
const maxErrorBytes = 16 << 10

// maxCauseBytes keeps a runtime's error short enough for an event.
const maxCauseBytes = 384

// wrapping is what runtimes put in front of the cause.
var wrapping = regexp.MustCompile(`^(failed to pull and unpack image "[^"]*": |failed to resolve (image|reference "[^"]*"): |failed to copy: |` +
	`(RegistryUnavailable|SignatureValidationFailed): |unable to pull image( or OCI artifact)?: |pull image err: |initializing source docker://\S+: )+`)

// afterthought starts CRI-O's message about its second try, with the image as an artifact.
const afterthought = "; artifact err: "

// plain returns the cause in the runtime's message, on one line, in the same words at every try, and without possible secrets in
// URLs.
func plain(err error) string {
	message := strings.Join(strings.Fields(words.Shorten(status.Convert(err).Message(), maxErrorBytes)), " ")
	message, _, _ = strings.Cut(wrapping.ReplaceAllString(message, ""), afterthought)
	return words.Shorten(words.Steady(queryPattern.ReplaceAllString(message, "$1$3")), maxCauseBytes)
}
