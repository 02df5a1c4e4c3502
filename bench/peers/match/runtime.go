package match

import (
	"cmp"
	"math"
	"runtime/metrics"
	"slices"
)

// pauses are those of the collector: how many were not longer than so many
// seconds, in ascending order.
type pauses []pause

type pause struct {
	Seconds float64
	Count   uint64
}

// add is both together.
func (p pauses) add(q pauses) pauses {
	sum := slices.Concat(p, q)
	slices.SortFunc(sum, func(a, b pause) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return sum
}

// at is the pause, in seconds, that a part of all of them was not above.
func (p pauses) at(part float64) float64 {
	var total, seen uint64
	for _, b := range p {
		total += b.Count
	}
	for _, b := range p {
		if seen += b.Count; float64(seen) >= part*float64(total) {
			return b.Seconds
		}
	}
	return 0
}

// usage is what a Go program used of its runtime.
type usage struct {
	Reads       uint64 // of the config's backend
	Objects     uint64 // allocated
	Bytes       uint64 // allocated
	Collections uint64
	Pauses      pauses
}

// meter tells the usage since it was last asked.
type meter struct {
	samples []metrics.Sample
	last    usage
	counts  []uint64 // of the histogram of pauses
}

func newMeter() *meter {
	return &meter{samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}}
}

func (m *meter) read(reads uint64) usage {
	metrics.Read(m.samples)
	now := usage{
		Reads:   reads,
		Objects: m.samples[0].Value.Uint64(), Bytes: m.samples[1].Value.Uint64(),
		Collections: m.samples[2].Value.Uint64(),
	}
	histogram := m.samples[3].Value.Float64Histogram()
	since := usage{
		Reads: now.Reads - m.last.Reads, Objects: now.Objects - m.last.Objects,
		Bytes: now.Bytes - m.last.Bytes, Collections: now.Collections - m.last.Collections,
	}
	for i, count := range histogram.Counts {
		before := uint64(0)
		if m.counts != nil {
			before = m.counts[i]
		}
		if count == before {
			continue
		}
		most := histogram.Buckets[i+1]
		if math.IsInf(most, 1) {
			most = histogram.Buckets[i]
		}
		since.Pauses = append(since.Pauses, pause{most, count - before})
	}
	m.counts = slices.Clone(histogram.Counts)
	m.last = now
	return since
}
