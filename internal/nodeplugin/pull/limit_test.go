package pull

import (
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

func limited(t *testing.T, cri *fakeCRI, most int64) *Puller {
	t.Helper()
	return newPuller(t, cri, Config{MaxImageBytes: most})
}

func tooLargeFor(t *testing.T, p *Puller, policy contract.PullPolicy) {
	t.Helper()
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: policy})
	if err == nil || kindOf(t, err) != TooLarge || !strings.Contains(err.Error(), "3.0 MiB") || !strings.Contains(err.Error(), "maxImageSize") {
		t.Errorf("got %v", err)
	}
}

func TestAnImageAboveTheLimitIsRefusedAndRemovedAndNotPulledAtEachTry(t *testing.T) {
	cri := &fakeCRI{size: 3 << 20}
	p := limited(t, cri, 2<<20)
	for range 3 {
		tooLargeFor(t, p, contract.PullIfNotPresent)
	}
	if got := cri.pulls.Load(); got != 1 {
		t.Errorf("%d pulls, want 1", got)
	}
	if cri.has(image) {
		t.Error("the image stays on the node")
	}
}

func TestAnImageThatWasThereBeforeIsRefusedAndStays(t *testing.T) {
	for _, policy := range []contract.PullPolicy{contract.PullIfNotPresent, contract.PullAlways, contract.PullNever} {
		cri := &fakeCRI{size: 3 << 20, images: map[string]bool{image: true}}
		tooLargeFor(t, limited(t, cri, 2<<20), policy)
		if !cri.has(image) {
			t.Errorf("policy %s: another's image was removed", policy)
		}
	}
}

func TestAnImageThatHasAnotherNameStays(t *testing.T) {
	cri := &fakeCRI{size: 3 << 20, otherName: "r.example/other:1"}
	tooLargeFor(t, limited(t, cri, 2<<20), contract.PullIfNotPresent)
	if !cri.has(image) {
		t.Error("another's image was removed")
	}
}

func TestAnImageOfTheLimitsSizeIsTaken(t *testing.T) {
	for _, most := range []int64{0, 3 << 20} {
		p := limited(t, &fakeCRI{size: 3 << 20}, most)
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: image}); err != nil {
			t.Errorf("limit %d: %v", most, err)
		}
	}
}

func TestTheLimitIsAQuantity(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "1": 1, "20Gi": 20 << 30, "1e3": 1000} {
		if got, err := ParseMaxImageSize(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "much"} {
		if _, err := ParseMaxImageSize(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
