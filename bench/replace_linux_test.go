package bench

import (
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
)

// BenchmarkReplace is how long an exact snapshot is stale after a publication
// into another file has returned, for a reader that looks all the time and uses
// a config of 16 MiB: in a region that grows, and in a region that another one
// replaces. The copy of that config, which any change of it takes, stands beside
// it.
func BenchmarkReplace(b *testing.B) {
	const size = 16 << 20
	large := ballast(b, "large", size)
	for name, c := range map[string]struct {
		before *image.Section
		change func(p *publisher)
	}{
		"grown":    {ballast(b, "large", 3<<20), func(p *publisher) { p.publish(1, large) }},
		"replaced": {large, func(p *publisher) { p.replace() }},
		"changed":  {ballast(b, "large", size-64), func(p *publisher) { p.publish(1, large) }},
	} {
		b.Run(name, func(b *testing.B) {
			var stale []time.Duration
			for b.Loop() {
				p := newPublisher(b, 4*size, config(b, "matchmaker", 1), c.before)
				reader, err := client.Open(p.dir)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := reader.Get("large"); err != nil {
					b.Fatal(err)
				}
				if name == "changed" { // every slot has its pages
					for range 4 {
						p.publish(0, config(b, "matchmaker", int(p.current.Generation())+1))
					}
				}
				reader.Snapshot()
				seen, generation := make(chan time.Duration), p.current.Generation()
				go func() {
					for reader.Snapshot().Generation() == generation {
					}
					seen <- monotonic()
				}()
				time.Sleep(pause)
				c.change(p)
				returned := monotonic()
				stale = append(stale, <-seen-returned)
				if err := reader.Close(); err != nil {
					b.Fatal(err)
				}
				if err := p.writer.Close(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, stale)
		})
	}
}
