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

// powers are the units' letters: of the first, second, third… power of 1024 with an i behind them, and of 1000 without.
const powers = "KMGTPE"

// unit is what a suffix multiplies an amount with.
func unit(suffix string) *big.Rat {
	switch suffix {
	case "":
		return big.NewRat(1, 1)
	case "m":
		return big.NewRat(1, 1e3)
	case "u":
		return big.NewRat(1, 1e6)
	case "n":
		return big.NewRat(1, 1e9)
	}
	letter, binary := strings.CutSuffix(suffix, "i")
	base := int64(1000)
	if binary {
		base = 1024
	}
	power := int64(1 + strings.Index(powers, strings.ToUpper(letter)))
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(power), nil))
}

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
	amount.Mul(amount, unit(suffix))
	if amount.Cmp(big.NewRat(Max, 1)) > 0 {
		return 0, fmt.Errorf("%q: %w", text, ErrTooLarge)
	}
	whole, rest := new(big.Int).QuoRem(amount.Num(), amount.Denom(), new(big.Int))
	return whole.Int64() + int64(rest.Sign()), nil
}

// Format writes an amount of bytes as Parse reads it, with the largest binary unit that keeps it exact.
func Format(bytes int64) string {
	for power := len(powers); power > 0; power-- {
		if unit := int64(1) << (10 * power); bytes != 0 && bytes%unit == 0 {
			return strconv.FormatInt(bytes/unit, 10) + powers[power-1:power] + "i"
		}
	}
	return strconv.FormatInt(bytes, 10)
}
