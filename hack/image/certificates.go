package main

import (
	"bytes"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// certificates are Mozilla's root certificates in PEM, of the release that go.mod pins: credential providers ask services of clouds
// over TLS. Roots that are trusted in a limited way only, e.g. for certificates up to a date, are left out, because PEM cannot say so.
func certificates() ([]byte, error) {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("write a root certificate: %w", err)
		}
	}
	return out.Bytes(), nil
}
