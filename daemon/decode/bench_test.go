package decode

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
		if r := d.Decode([]*source.File{{Path: "matchmaker.yaml", Data: data}}); len(r.Problems) > 0 {
			b.Fatal(r.Err())
		}
	}
}

// BenchmarkDecodeUnchanged decodes a revision of 10,000 files of which one
// changed.
func BenchmarkDecodeUnchanged(b *testing.B) {
	in := many(10_000)
	d := New(Options{})
	d.Decode(in)
	b.ReportAllocs()
	for b.Loop() {
		changed := *in[5000]
		in[5000] = &changed
		if r := d.Decode(in); len(r.Configs) != len(in) {
			b.Fatal(r.Err())
		}
	}
}
