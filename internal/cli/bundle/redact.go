package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Redacted stands in place of what could be a secret.
const Redacted = "REDACTED"

// Object returns an object or a document as JSON, without what could be a secret: data of Secrets and ConfigMaps, values of environment
// variables and HTTP headers, values of annotations that are not Kubernetes' or this project's own, what is given to flags with a name
// like that of a secret, and what looks like a credential in any text.
func Object(object any) ([]byte, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var plain any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(clean("", plain))
	return out.Bytes(), err
}

// clean returns a value without what could be a secret, by the key that it has.
func clean(key string, value any) any {
	switch is := value.(type) {
	case map[string]any:
		return cleanMap(key, is)
	case []any:
		if key == "args" || key == "command" {
			return cleanArguments(is)
		}
		out := make([]any, 0, len(is))
		for _, item := range is {
			out = append(out, clean(key, item))
		}
		return out
	case string:
		if secretKey.MatchString(key) {
			return Redacted
		}
		return Text(is)
	default:
		return value
	}
}

// secretKey are keys whose text is a secret; names of Secrets are none.
var secretKey = regexp.MustCompile(`(?i)(password|passwd|token|auth|authorization|api[-_]?key|access[-_]?key|private[-_]?key|client[-_]?secret)$`)

// dropped are the keys of what no answer needs, and of what Secrets and ConfigMaps hold.
func dropped(key string) bool {
	return slices.Contains([]string{"managedFields", "data", "stringData", "binaryData"}, key)
}

func cleanMap(key string, object map[string]any) map[string]any {
	out := make(map[string]any, len(object))
	for name, value := range object {
		switch {
		case dropped(name):
		case key == "annotations" && !ownAnnotation(name):
			out[name] = Redacted
		case (key == "env" || key == "httpHeaders") && name == "value" && !slices.Contains(plainVariables(), fmt.Sprint(object["name"])):
			out[name] = Redacted
		default:
			out[name] = clean(name, value)
		}
	}
	return out
}

// plainVariables are environment variables of this project's programs that hold no secret.
func plainVariables() []string {
	return []string{"RELATED_IMAGE_NODE_PLUGIN", "GOMEMLIMIT", "GOMAXPROCS"}
}

// ownAnnotation reports whether an annotation is one that Kubernetes, its installers or this project write, and no copy of a manifest.
func ownAnnotation(name string) bool {
	if name == "kubectl.kubernetes.io/last-applied-configuration" {
		return false
	}
	group, _, _ := strings.Cut(name, "/")
	for _, own := range []string{"imagecsi.dev", "kubernetes.io", "k8s.io", "helm.sh", "operatorframework.io", "openshift.io"} {
		if group == own || strings.HasSuffix(group, "."+own) {
			return true
		}
	}
	return false
}

// secretFlag are names of flags whose value is a secret.
var secretFlag = regexp.MustCompile(`(?i)^--?[\w.-]*(password|passwd|token|secret|credential|apikey|api-key|private-key|auth)[\w.-]*`)

func cleanArguments(arguments []any) []any {
	out := make([]any, 0, len(arguments))
	hide := false
	for _, argument := range arguments {
		text, _ := argument.(string)
		flag := secretFlag.FindString(text)
		rest, isFlag := strings.TrimPrefix(text, flag), strings.HasPrefix(text, "-")
		switch {
		case flag != "" && strings.HasPrefix(rest, "="):
			text = flag + "=" + Redacted
		case hide && !isFlag:
			text = Redacted
		default:
			text = Text(text)
		}
		hide = flag != "" && rest == ""
		out = append(out, text)
	}
	return out
}

// pattern is what looks like a credential, and what is left of it.
type pattern struct {
	is   *regexp.Regexp
	left string
}

// patterns are tried one after the other.
var patterns = []pattern{ //nolint:gochecknoglobals // a constant
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`), Redacted},
	{regexp.MustCompile(`eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*`), Redacted},
	{regexp.MustCompile(`(?i)\b(bearer|basic)(\s+|%20)[\w+/=.~-]{6,}`), "$1 " + Redacted},
	{regexp.MustCompile(`://[^/\s"'\\@]+@`), "://" + Redacted + "@"},
	{regexp.MustCompile(`(?i)((?:auth|authorization|password|passwd|token|identitytoken|registrytoken|api[-_]?key|access[-_]?key|secret[-_]?key|client[-_]?secret|x-amz-(?:signature|security-token|credential)|sig|signature)(?:\\*["'])?\s*[=:]\s*(?:\\*["'])?)[^\s,;&"'\\]+`), "${1}" + Redacted},
	{regexp.MustCompile(`(?i)(\bsecret=)[^\s,;&"'\\]+`), "${1}" + Redacted},
}

// Text returns a text, such as a log, without what looks like a credential.
func Text(text string) string {
	for _, p := range patterns {
		text = p.is.ReplaceAllString(text, p.left)
	}
	return text
}
