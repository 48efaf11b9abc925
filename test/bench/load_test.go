package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// podsPerNode is what a kubelet takes by default.
const podsPerNode = 110

// BenchmarkEveryPodAtOnce publishes a volume for as many pods as a node takes, all at the same time, and once more, as
// a kubelet does that was restarted.
func BenchmarkEveryPodAtOnce(b *testing.B) {
	p := plugin(b)
	for _, layers := range []int{10, 60} {
		first := newVolume(b, p, "first", nodes.Numbered(layers))
		pulled(b, first)
		var volumes []volume
		for i := range podsPerNode {
			volumes = append(volumes, newVolume(b, p, fmt.Sprint("many-", i), nodes.Numbered(layers)))
		}
		at := func() time.Duration {
			return together(b, podsPerNode, func() error { return nil }, func(i int) error { return volumes[i].publish() })
		}
		measure(b, fmt.Sprintf("%d volumes of %d layers at once", podsPerNode, layers), func() (float64, string) {
			took := at()
			if got := len(p.Mounts(b)); got != podsPerNode+1 {
				b.Fatalf("%d mounts, want %d", got, podsPerNode+1)
			}
			for _, v := range volumes {
				must(b, v.unpublish())
			}
			return took.Seconds(), "all mounted"
		})
		measure(b, fmt.Sprintf("%d volumes of %d layers published again", podsPerNode, layers), func() (float64, string) {
			at()
			again := at()
			for _, v := range volumes {
				must(b, v.unpublish())
			}
			return again.Seconds(), "all mounted before"
		})
		must(b, first.unpublish())
	}
}
