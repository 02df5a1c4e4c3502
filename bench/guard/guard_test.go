package main

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// rounds are values around a median, as noisy as a shared machine makes them.
func rounds(r *rand.Rand, n int, median float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = median * (1 + 0.1*r.Float64())
		if r.IntN(8) == 0 {
			values[i] *= 2 // another process had the processor
		}
	}
	return values
}

func TestCompare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		what     string
		unit     string
		old, new []float64
		worse    bool
	}{
		{"noise", "sec/op", rounds(r, 10, 1e-9), rounds(r, 10, 1e-9), false},
		{"a third slower", "sec/op", rounds(r, 10, 1e-9), rounds(r, 10, 1.33e-9), true},
		{"a third faster", "sec/op", rounds(r, 10, 1.33e-9), rounds(r, 10, 1e-9), false},
		{"a little slower", "sec/op", rounds(r, 40, 1e-9), rounds(r, 40, 1.05e-9), false},
		{"a median of a benchmark's own", "p50-sec", rounds(r, 10, 400e-9), rounds(r, 10, 600e-9), true},
		{"one round that is slower", "sec/op", []float64{1, 1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1, 9}, false},
		{"one allocation", "allocs/op", []float64{0, 0, 0, 0, 0, 0}, []float64{1, 1, 1, 1, 1, 1}, true},
		{"one allocation less", "allocs/op", []float64{2, 2, 2, 2, 2, 2}, []float64{1, 1, 1, 1, 1, 1}, false},
	} {
		k := key{"Read/" + test.what, test.unit}
		lines := compare([2]figures{{k: test.old}, {k: test.new}}, 10)
		if len(lines) != 1 || lines[0].worse != test.worse {
			t.Errorf("%s: %+v", test.what, lines)
		}
	}
}

func TestCompareLeavesOut(t *testing.T) {
	six := []float64{1, 2, 3, 4, 5, 6}
	lines := compare([2]figures{
		{{"gone", "sec/op"}: six, {"speed", "B/s"}: six, {"both", "sec/op"}: six},
		{{"made", "sec/op"}: six, {"speed", "B/s"}: six, {"both", "sec/op"}: six},
	}, 10)
	if len(lines) != 1 || lines[0].name != "both" {
		t.Errorf("%+v", lines)
	}
}

func TestAdd(t *testing.T) {
	f := figures{}
	const out = `goos: linux
cpu: some
BenchmarkRead/floor/atomic.Pointer-2   100	 0.4 ns/op	 0 B/op	 0 allocs/op
BenchmarkRead/Binding.Get-2   100	 0.5 ns/op	 0 B/op	 0 allocs/op
BenchmarkRead/Snapshot-2   100	 9 ns/op	 0 B/op	 0 allocs/op
BenchmarkRefresh/1MiB/warm-2   100	 412 p50-ns
PASS
`
	match := regexp.MustCompile("Get|Refresh")
	for range 2 {
		if err := f.add(strings.NewReader(out), match); err != nil {
			t.Fatal(err)
		}
	}
	if got := f[key{"Read/Binding.Get", "sec/op"}]; len(got) != 2 || got[0] != 0.5e-9 {
		t.Errorf("Binding.Get took %v", got)
	}
	if got := f[key{"Refresh/1MiB/warm", "p50-sec"}]; len(got) != 2 || got[0] < 411e-9 || got[0] > 413e-9 {
		t.Errorf("a refresh took %v: %v", got, f)
	}
	for k := range f {
		if strings.Contains(k.name, "Snapshot") || strings.Contains(k.name, "floor") {
			t.Errorf("%s was not asked for", k.name)
		}
	}
}

func TestShowAndMatch(t *testing.T) {
	lines := []line{
		{key: key{"Read/Doc.Int", "sec/op"}, old: 20e-9, new: 30e-9, worse: true},
		{key: key{"Read/Doc.Int", "allocs/op"}},
		{key: key{"Read/DocXInt", "allocs/op"}, new: 2, worse: true},
	}
	var out bytes.Buffer
	show(&out, "HEAD", lines)
	for _, want := range []string{"20 ns", "30 ns", "+50.0 %", "worse", "2 allocs/op"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	m := matching(worse(lines)[:1])
	if !m.MatchString("Read/Doc.Int") || m.MatchString("Read/DocXInt") {
		t.Errorf("%s matches the wrong ones", m)
	}
	again := replace(lines, []line{{key: key{"Read/Doc.Int", "sec/op"}, old: 20e-9, new: 20e-9}})
	if again[0].worse || !again[2].worse {
		t.Errorf("%+v", again)
	}
}
