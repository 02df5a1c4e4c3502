package bench

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

// settings is what an application decodes the config into.
type settings struct {
	Version int `json:"version"`
	Weights struct {
		Elo         int
		Ping, Party float64
	} `json:"weights"`
}

// BenchmarkRead is what a request pays.
func BenchmarkRead(b *testing.B) {
	p := newPublisher(b, 1<<20, config(b, "matchmaker", 1), config(b, "other", 1))
	c, err := client.Open(p.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	binding := client.Bind[settings](c, "matchmaker")
	key := client.BindKey(c, "matchmaker", "weights.elo", 0)
	snapshot := c.Snapshot()
	doc, err := c.Get("matchmaker")
	if err != nil {
		b.Fatal(err)
	}

	var floor atomic.Pointer[settings]
	floor.Store(binding.Get())
	b.Run("floor/atomic.Pointer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = floor.Load()
		}
	})
	b.Run("Binding.Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = binding.Get()
		}
	})
	b.Run("KeyBinding.Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = key.Get()
		}
	})
	b.Run("Binding.In", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = binding.In(snapshot)
		}
	})
	word := new(uint64)
	b.Run("floor/guarded-load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = guardedLoad(word)
		}
	})
	b.Run("Snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Snapshot()
		}
	})
	b.Run("Client.Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Get("matchmaker")
		}
	})
	var values sync.Map
	values.Store("weights.elo", 1500)
	for i := range 29 { // as many keys as the config has
		values.Store(fmt.Sprintf("setting_%02d", i), i)
	}
	b.Run("floor/sync.Map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, _ := values.Load("weights.elo")
			_, _ = v.(int)
		}
	})
	b.Run("Doc.Int", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = doc.Int("weights.elo")
		}
	})
}

// guardedLoad is the least that a load costs which must survive a fault.
//
//go:noinline
func guardedLoad(word *uint64) (v uint64) {
	defer recoverFault(debug.SetPanicOnFault(true))
	return atomic.LoadUint64(word)
}

func recoverFault(old bool) {
	debug.SetPanicOnFault(old)
	_ = recover()
}

// BenchmarkReadParallel is the same from all processors at once.
func BenchmarkReadParallel(b *testing.B) {
	p := newPublisher(b, 1<<20, config(b, "matchmaker", 1))
	c, err := client.Open(p.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	binding := client.Bind[settings](c, "matchmaker")
	b.Run("Binding.Get", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = binding.Get()
			}
		})
	})
	b.Run("Snapshot+In", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = binding.In(c.Snapshot())
			}
		})
	})
}

// BenchmarkDecode is what a change costs in addition where a binding has to
// decode it, on a goroutine that no request waits for.
func BenchmarkDecode(b *testing.B) {
	p := newPublisher(b, 1<<20, config(b, "matchmaker", 1))
	p.beat()
	c, err := client.Open(p.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	binding := client.Bind[settings](c, "matchmaker")
	var took []time.Duration
	for version := 2; b.Loop(); version++ {
		p.publish(0, config(b, "matchmaker", version))
		start := time.Now()
		_ = binding.In(c.Snapshot())
		took = append(took, time.Since(start))
	}
	report(b, took)
}

// BenchmarkCrowd is a change under a thousand goroutines that all want the new
// value at once: one decodes, the others wait for it.
func BenchmarkCrowd(b *testing.B) {
	p := newPublisher(b, 1<<20, config(b, "matchmaker", 1))
	p.beat()
	c, err := client.Open(p.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	binding := client.Bind[settings](c, "matchmaker")
	for version := 2; b.Loop(); version++ {
		p.publish(0, config(b, "matchmaker", version))
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { _ = binding.In(c.Snapshot()) })
		}
		wg.Wait()
	}
}
