package quantity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// Max is the largest amount that Parse returns, in bytes: 1Ei. It leaves the kernel room to count in blocks.
	Max = 1 << 60

	// maxText is longer than any amount that users write.
	maxText = 64

	// maxExponent is the number of digits of a decimal exponent. The library computes ten to the exponent's power: with
	// ten digits that takes hours and gigabytes.
	maxExponent = 2
)

// Errors of Parse. It returns sentences for the text's author that wrap one of these.
var (
	// ErrForm means that a text is no amount.
	ErrForm = errors.New("it is not a quantity such as 500Mi or 20Gi")

	// ErrSign means that an amount, or an exponent, has a sign.
	ErrSign = errors.New("a quantity of bytes has no sign; write it like 500Mi or 20Gi")

	// ErrTooLarge means that an amount is more than Max.
	ErrTooLarge = errors.New("it is more than 1Ei")
)

// form is a Kubernetes quantity (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity) without
// signs. The CRD's rules of amounts in bytes have the same form (api/v1alpha1, Volumes).
var form = regexp.MustCompile(`^([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE]([0-9]+))?$`)

// Parse reads an amount of bytes such as 500Mi, from 0 to Max, and rounds it up to whole bytes. It refuses by length, form
// and exponent before the library sees the text, because the library's cost is in the value and not in the length.
func Parse(text string) (int64, error) {
	if len(text) > maxText {
		return 0, fmt.Errorf("a text of %d bytes is too long for a quantity: %w", len(text), ErrForm)
	}
	parts := form.FindStringSubmatch(text)
	switch {
	case parts == nil && strings.ContainsAny(text, "+-"):
		return 0, fmt.Errorf("%q: %w", text, ErrSign)
	case parts == nil:
		return 0, fmt.Errorf("%q: %w", text, ErrForm)
	case len(parts[3]) > maxExponent:
		return 0, fmt.Errorf("%q: %w", text, ErrTooLarge)
	}
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", text, ErrForm) // the library's words are about its own syntax
	}
	// Compared as it is: what does not fit an int64 has any Value, zero and negative ones included.
	if parsed.CmpInt64(Max) > 0 {
		return 0, fmt.Errorf("%q: %w", text, ErrTooLarge)
	}
	return parsed.Value(), nil
}

// Format writes an amount of bytes as Parse reads it, with the largest binary unit that keeps it exact.
func Format(bytes int64) string {
	return resource.NewQuantity(bytes, resource.BinarySI).String()
}
