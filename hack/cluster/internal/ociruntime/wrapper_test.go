package ociruntime

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestAdaptTakesOutWhatNeedsTheCapabilityAndNothingElse(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"negative score":    {`{"process":{"oomScoreAdj":-998}}`, `{"process":{"oomScoreAdj":0}}`},
		"positive score":    {`{"process":{"oomScoreAdj":1000}}`, `{"process":{"oomScoreAdj":1000}}`},
		"capability":        {`{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"ambient":null}}}`, `{"process":{"capabilities":{"bounding":["CAP_CHOWN"],"ambient":null}}}`},
		"unknown and large": {`{"later":{"x":9007199254740993}}`, `{"later":{"x":9007199254740993}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := adapt([]byte(test.in), adaptSpec)
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, got, []byte(test.want)) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestProcessOfAnExecIsAdaptedToo(t *testing.T) {
	got, err := adapt([]byte(`{"args":["sh"],"capabilities":{"effective":["CAP_SYS_RESOURCE"]}}`), adaptProcess)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"args":["sh"],"capabilities":{"effective":[]}}`; !sameJSON(t, got, []byte(want)) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBundleIsFoundHoweverTheFlagIsWritten(t *testing.T) {
	for _, args := range [][]string{
		{"--root=/run/runc", "create", "--bundle", "/b", "id"},
		{"create", "-b", "/b", "id"},
		{"create", "--bundle=/b", "id"},
	} {
		if got := flagValue(args, "--bundle", "-b"); got != "/b" {
			t.Errorf("%v: got %q", args, got)
		}
	}
	for _, args := range [][]string{{"state", "id"}, {"create", "-b"}} {
		if got := flagValue(args, "--bundle", "-b"); got != "" {
			t.Errorf("%v: got %q", args, got)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestCrunGetsAVersionThatItKnows(t *testing.T) {
	got, err := adapt([]byte(`{"ociVersion":"1.3.0","process":{"oomScoreAdj":-998},"linux":{"resources":{"pids":{"limit":-1}}}}`), adaptSpecForCrun)
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, got, []byte(`{"ociVersion":"1.0.2","process":{"oomScoreAdj":0},"linux":{"resources":{}}}`)) {
		t.Errorf("got %s", got)
	}
}
