package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/shm/image"
)

// BenchmarkPublish is what the daemon pays from decoded configs to a committed
// generation when one config of a KiB changed, beside the floor: a copy of the
// image and a hash over what changed.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []struct {
		name    string
		configs int
		opaque  int // bytes
	}{
		{"1MiB/2-configs", 1, 1<<20 - 8<<10},
		{"1MiB/500-configs", 500, 0},
		{"21MiB/10000-configs", 10_000, 0},
	} {
		var sections []*image.Section
		for i := range size.configs {
			sections = append(sections, config(b, fmt.Sprintf("config-%d", i), 0))
		}
		if size.opaque > 0 {
			sections = append(sections, ballast(b, "ballast", size.opaque))
		}
		slices.SortFunc(sections, func(a, b *image.Section) int { return strings.Compare(a.Name(), b.Name()) }) // as the decoder does
		p := newPublisher(b, 64<<20, sections...)
		changed := [2]*image.Section{config(b, "config-0", 1), config(b, "config-0", 2)}
		at := slices.IndexFunc(sections, func(s *image.Section) bool { return s.Name() == "config-0" })
		for i := range 8 { // every slot has its pages
			p.publish(at, changed[i%2])
		}
		from, to := make([]byte, p.current.Size()), make([]byte, p.current.Size())
		b.Run(size.name+"/floor", func(b *testing.B) {
			b.SetBytes(int64(len(to)))
			for i := 0; b.Loop(); i++ {
				copy(to, from)
				_ = xxhash.Sum64(changed[i%2].Content())
			}
		})
		b.Run(size.name+"/publish", func(b *testing.B) {
			b.SetBytes(int64(len(to)))
			for i := 0; b.Loop(); i++ {
				p.publish(at, changed[i%2])
			}
		})
	}
}
