package plan

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/statesync/statesync/daemon/source"
)

// kilobyte is 1 KiB of ordinary YAML.
func kilobyte() []byte {
	var b bytes.Buffer
	b.WriteString("# weights of the matchmaker\nname: matchmaker\nenabled: true\npools:\n")
	for i := 0; b.Len() < 960; i++ {
		fmt.Fprintf(&b, "  - name: pool%d\n    size: %d\n    ratio: 0.%d\n    tags: [a, b]\n", i, i*100, i+1)
	}
	for b.Len() < 1024 {
		b.WriteString("#")
	}
	return b.Bytes()
}

func BenchmarkDecode(b *testing.B) {
	data := kilobyte()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	d := New(Options{})
	for b.Loop() {
		if r := made(d, []*source.File{{Path: "matchmaker.yaml", Data: data}}); len(r.Problems) > 0 {
			b.Fatal(r.Err())
		}
	}
}

// BenchmarkMakeOneOf10000 makes plans of 10,000 files of which one changed: in one
// layer, and with two more of which one has a part of each config.
func BenchmarkMakeOneOf10000(b *testing.B) {
	in := many(10_000)
	top := many(10_000)
	upper := []Layer{{Name: "top", Newest: &source.Snapshot{Version: "t", Files: top}}, {Name: "last", Newest: &source.Snapshot{Version: "l", Files: top[:10]}}}
	for _, layers := range []int{1, 3} {
		b.Run(fmt.Sprint("layers=", layers), func(b *testing.B) {
			m := New(Options{})
			plan := func() *Plan { return make1(b, m, append(dir(in), upper[:layers-1]...)...) }
			plan()
			b.ReportAllocs()
			for b.Loop() {
				changed := *in[5000]
				in[5000] = &changed
				if p := plan(); len(p.Configs) != len(in) {
					b.Fatal(p.Err())
				}
			}
		})
	}
}
