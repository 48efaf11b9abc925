package why

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const nodePlugin, contractOfBoth = "../../nodeplugin", "../../contract"

// TestEveryPhraseIsWhatTheNodePluginSays holds the rows to the sources of those who say what they look for: a sentence that changes
// there has to change here.
func TestEveryPhraseIsWhatTheNodePluginSays(t *testing.T) {
	said := strings.Join(append(texts(t, nodePlugin), texts(t, contractOfBoth)...), "\n")
	for _, r := range errorRows() {
		for _, phrase := range r.phrases {
			if r.others == "" && !strings.Contains(said, phrase) && !isSystems(phrase) {
				t.Errorf("%s: the node plugin does not say %q", r.id, phrase)
			}
		}
	}
}

// isSystems reports whether a phrase is the kernel's or a container runtime's own.
func isSystems(phrase string) bool {
	return phrase == "no space left on device" || phrase == "disk quota exceeded"
}

// texts returns the string literals of all sources beneath a directory, but for tests. Those that a plus joins are one.
func texts(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			expression, isExpression := node.(ast.Expr)
			if isExpression {
				if text, is := joined(expression); is {
					found = append(found, text)
					return false
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// joined returns the text of a string literal, or of several with what stands between them left out.
func joined(e ast.Expr) (text string, is bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, isLeft := joined(e.X)
		right, isRight := joined(e.Y)
		return left + right, e.Op == token.ADD && (isLeft || isRight)
	}
	return "", false
}

// TestEveryKindOfFailedPullHasACause reads the sentences for failed pulls. Only a defect of the node plugin has no row of its own.
func TestEveryKindOfFailedPullHasACause(t *testing.T) {
	want := map[string]string{
		"NotFound": "ImageNotFound", "NotPresent": "ImageNotPresent", "Denied": "AccessDenied", "NotYours": "AccessDenied", "Unproven": "AccessUnproven",
		"Unreachable": "RegistryUnreachable", "Failing": "RegistryUnreachable", "Corrupt": "ImageDamaged", "NoSpace": "DiskFull", "RateLimited": "RateLimited",
		"OtherNodes": "OtherPlatform", "Damaged": "ImageDamaged", "Unsupported": "ImageUnsupported", "TooLarge": "ImageTooLarge", "Untrusted": "ImageUntrusted",
		"RuntimeDown": "RuntimeDown", "StillPulling": "StillPulling", "Interrupted": "RuntimeDown", "Abandoned": "StillPulling", "Defect": "PullFailed", "Unknown": "PullFailed",
	}
	file, err := parser.ParseFile(token.NewFileSet(), nodePlugin+"/pull/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	ast.Inspect(file, func(node ast.Node) bool {
		pair, isPair := node.(*ast.KeyValueExpr)
		if !isPair {
			return true
		}
		name, isName := pair.Key.(*ast.Ident)
		value, isValue := pair.Value.(*ast.CompositeLit)
		if !isName || !isValue || len(value.Elts) != 2 {
			return true
		}
		sentence, _ := joined(value.Elts[1])
		kinds++
		if r, _ := ofError(strings.ReplaceAll(sentence, "%s", "registry.example/team/app:1")); r.id != want[name.Name] {
			t.Errorf("%s, %q: the cause is %q, want %q", name.Name, sentence, r.id, want[name.Name])
		}
		return true
	})
	if kinds != len(want) {
		t.Errorf("%d kinds of failed pulls, want %d", kinds, len(want))
	}
}

// TestOtherErrorsHaveACause has errors as pods' events have them.
func TestOtherErrorsHaveACause(t *testing.T) {
	for said, want := range map[string]string{
		`kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name container-image.csi.k8s.io not found in the list of registered CSI drivers`:                                      "DriverAbsent",
		`fetching NodePublishSecretRef default/none failed: kubernetes.io/csi: failed to find the secret none in the namespace default with error: secrets "none" not found`:                       "SecretMissing",
		`the volume's secret has neither the key ".dockerconfigjson" nor ".dockercfg"; create it with "kubectl create secret docker-registry"`:                                                     "SecretBroken",
		`the volume names no image; set the volume attribute image, such as image: registry.example/team/app:1.0`:                                                                                  "NoImage",
		`"registry.example/Upper:1" is not an image reference (invalid reference format); one looks like registry.example/team/app:1.0`:                                                            "ReferenceInvalid",
		`volume attribute pullPolicy: "Sometimes" is not one of Always, IfNotPresent, Never`:                                                                                                       "AttributeInvalid",
		`volume attribute sizeLimit: 20Gi is more than the driver allows, 10Gi`:                                                                                                                    "AttributeInvalid",
		`image docker.io/library/busybox:1 may not be a volume: the driver's rules do not allow it; use an allowed image, or ask the administrator to extend spec.security.allowedImages`:          "ImageNotAllowed",
		`image docker.io/library/busybox:1 may not be a volume: the driver's rules do not allow it; name it by digest, as in docker.io/library/busybox@sha256:…`:                                   "PinningRequired",
		`the file system of /var/lib/kubelet/plugins/x, which holds the data of writable volumes, is full; make room there, or mount the image read-only: write: no space left on device`:          "DiskFull",
		`opening image a:1 in the runtime's store: image is not for this node's operating system and architecture: it is built for "arm64" on "linux", and the node is amd64 on linux`:             "OtherPlatform",
		`image a:1: this node cannot show the image in the form IDMappable: the node has SELinux; volume attribute form is IDMappable, which pods with hostUsers: false need: use a node that can`: "NotMappable",
		`volume "csi-1" asks for a limit of 1Gi, and its size cannot be limited on this node: mount the file system of /var/lib/kubelet with project quotas`:                                       "NoSizeLimit",
		`AccessMode of PV can be only ReadOnlyMany or ReadOnlyOnce`:                                                                                                                                "AccessMode",
		`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial unix /var/lib/kubelet/plugins/x/csi.sock: connect: connection refused"`:               "NodePluginAway",
		`image registry.example/large:1 has 3.0 MiB, and this driver's limit is 1.0 MiB; use a smaller image, or ask the administrator to raise spec.volumes.maxImageSize`:                         "ImageTooLarge",
		`something new`: "",
	} {
		if r, _ := ofError(said); r.id != want {
			t.Errorf("%s: the cause is %q, want %q", said, r.id, want)
		}
	}
}

// allRows are the rows of all tables, each ID once.
func allRows() (rows []row) {
	for _, r := range errorRows() {
		if r.id == "AccessDenied" { // what to do depends on the volume's secret
			r.do = openImage(question{})
		}
		rows = append(rows, r.row)
	}
	for _, r := range append(absentRows(), podRows()...) {
		rows = append(rows, r.row)
	}
	for _, r := range claimRows() {
		rows = append(rows, r.row)
	}
	return append(rows, claimUnbound(), other())
}

// TestThePageHasEveryCause wants every row to be complete and in docs/kubectl.md, whose links the tests of docs follow.
func TestThePageHasEveryCause(t *testing.T) {
	page, err := os.ReadFile("../../../docs/kubectl.md")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, r := range allRows() {
		if r.id == "" || len(r.do) == 0 || ids[r.id] {
			t.Errorf("%+v is not complete, or another row has its ID", r)
		}
		ids[r.id] = true
		cause := strings.NewReplacer("{", "", "}", "").Replace(regexp.MustCompile(`\{\w+\}`).ReplaceAllStringFunc(r.cause, strings.ToUpper))
		link := strings.Replace("../"+r.see, "../docs/", "", 1)
		line := "| `" + r.id + "` | " + cause + " | [more](" + link + ") |\n"
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/kubectl.md lacks the line\n%s", line)
		}
	}
}

// TestTheTroubleshootingPageHasEveryError wants a line in docs/troubleshooting.md for each row that an error shows: what the error says,
// the cause, and the cure. Run with UPDATE=1 it writes them.
func TestTheTroubleshootingPageHasEveryError(t *testing.T) {
	const file, start, end = "../../../docs/troubleshooting.md", "<!-- rows -->\n", "<!-- end of rows -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), start)
	rows, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no %q and %q", file, start, end)
	}
	var want strings.Builder
	want.WriteString("| the event says | cause | what to do |\n|---|---|---|\n")
	for _, r := range errorRows() {
		want.WriteString(troubleshooting(r))
	}
	if rows == want.String() {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("the rows of %s are\n%s\nwant\n%s\nwrite them by UPDATE=1 go test ./internal/cli/why", file, rows, want.String())
	}
	if err := os.WriteFile(file, []byte(before+start+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// troubleshooting is the line of a row in the page.
func troubleshooting(r errorRow) string {
	named := func(text string) string {
		text = strings.ReplaceAll(text, "{change}", "change the volume where the pod is declared")
		placeholder := regexp.MustCompile(`\{[a-z]+\}`)
		return placeholder.ReplaceAllStringFunc(text, func(name string) string { return strings.ToUpper(strings.Trim(name, "{}")) })
	}
	var says, do []string
	for _, phrase := range r.phrases {
		says = append(says, "`"+strings.TrimSpace(phrase)+"`")
	}
	for _, step := range r.do {
		command, comment, _ := strings.Cut(named(step), "   (")
		if strings.HasPrefix(command, "kubectl ") {
			command = "`" + command + "`"
		}
		if comment != "" {
			command += " (" + comment
		}
		do = append(do, command)
	}
	if len(do) == 0 {
		do = []string{"see below"}
	}
	link := strings.Replace("../"+r.see, "../docs/", "", 1)
	return "| " + strings.Join(says, "<br>") + " | " + named(r.cause) + " ([more](" + link + ")) | " + strings.Join(do, "<br>") + " |\n"
}
