package render

import "k8s.io/apimachinery/pkg/util/sets"

// ServedField is a field that the operator applies and that the oldest supported API servers do not know. They refuse an
// object that has it (server-side apply takes no unknown field), so it is left out where the server's schema lacks it.
type ServedField struct {
	// Group and Version of the OpenAPI document that has the field.
	Group, Version string
	// Schema in that document, and the Property of it.
	Schema, Property string
	// Since is the first Kubernetes release whose servers know the field.
	Since string
}

// TokensInSecrets has the kubelet pass service account tokens among a volume's secrets (KEP-5538).
func TokensInSecrets() ServedField {
	return ServedField{
		Group: "storage.k8s.io", Version: "v1", Schema: "io.k8s.api.storage.v1.CSIDriverSpec", Property: "serviceAccountTokenInSecrets", Since: "1.35",
	}
}

// ServedFields are all fields that are newer than the oldest supported release.
func ServedFields() []ServedField { return []ServedField{TokensInSecrets()} }

// costs returns the fields that a driver goes without because the API server lacks them.
func costs(in Input) []ServedField {
	var out []ServedField
	if len(tokenRequests(in.Driver)) > 0 && in.Lacking.Has(TokensInSecrets()) {
		out = append(out, TokensInSecrets())
	}
	return out
}

// Lacking are fields that the API server does not know.
type Lacking = sets.Set[ServedField]
