package quantity

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

const (
	// Max is the largest amount that Parse returns, in bytes: 1Ei. It leaves the kernel room to count in blocks.
	Max = 1 << 60

	// maxText is longer than any amount that users write.
	maxText = 64

	// maxExponent is the number of digits of a decimal exponent. Parse computes ten to the exponent's power: with ten digits that
	// would take hours and gigabytes.
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

// units are what the suffixes of an amount multiply it with. Those of less than a byte are not here: they divide by thousand once, twice or
// three times.
var units = map[string]int64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}

// parts are those of a unit.
var parts = map[string]int64{"m": 1e3, "u": 1e6, "n": 1e9}

// Parse reads an amount of bytes such as 500Mi, from 0 to Max, and rounds it up to whole bytes. It refuses by length, form
// and exponent before it computes.
func Parse(text string) (int64, error) {
	if len(text) > maxText {
		return 0, fmt.Errorf("a text of %d bytes is too long for a quantity: %w", len(text), ErrForm)
	}
	matched := form.FindStringSubmatch(text)
	switch {
	case matched == nil && strings.ContainsAny(text, "+-"):
		return 0, fmt.Errorf("%q: %w", text, ErrSign)
	case matched == nil:
		return 0, fmt.Errorf("%q: %w", text, ErrForm)
	case len(matched[3]) > maxExponent:
		return 0, fmt.Errorf("%q: %w", text, ErrTooLarge)
	}
	number, suffix := matched[1], matched[2]
	if matched[3] != "" {
		number, suffix = number+"e"+matched[3], ""
	}
	amount, is := new(big.Rat).SetString(number)
	if !is {
		return 0, fmt.Errorf("%q: %w", text, ErrForm)
	}
	if divisor, is := parts[suffix]; is {
		amount.Mul(amount, big.NewRat(1, divisor))
	} else {
		amount.Mul(amount, big.NewRat(units[suffix], 1))
	}
	if amount.Cmp(big.NewRat(Max, 1)) > 0 {
		return 0, fmt.Errorf("%q: %w", text, ErrTooLarge)
	}
	whole, rest := new(big.Int).QuoRem(amount.Num(), amount.Denom(), new(big.Int))
	return whole.Int64() + int64(rest.Sign()), nil
}

// Format writes an amount of bytes as Parse reads it, with the largest binary unit that keeps it exact.
func Format(bytes int64) string {
	for _, unit := range []string{"Ei", "Pi", "Ti", "Gi", "Mi", "Ki"} {
		if bytes != 0 && bytes%units[unit] == 0 {
			return strconv.FormatInt(bytes/units[unit], 10) + unit
		}
	}
	return strconv.FormatInt(bytes, 10)
}
