package scaling

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/cost"
	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// growthPoint is what a change costs at one size. Times are medians in
// nanoseconds.
type growthPoint struct {
	X       int   // what grows: bytes, configs, keys
	Image   int64 // its size in bytes
	Region  int64 // the memory of the region with all its slots, in bytes
	Publish float64
	Refresh float64 // of a reader in another process that uses one config
	// ByName and ByKey are what the reader's look-ups cost: of the config in the
	// client, and of a key in it.
	ByName, ByKey float64
}

// shape is an image, and what changes in it.
type shape struct {
	x        int
	sections func() ([]*image.Section, error)
	changed  func(version int) (*image.Section, error)
	reads    string // the config that the reader uses
	key      string // which it reads
}

// line is what is measured at several points.
type line struct {
	name   string // what grows, and what changes
	points []int
	shape  func(x int) shape
}

var lines = []line{
	{"image, another part changes", sizes, func(x int) shape { return imageShape(x, used, other) }},
	{"image, the used config changes", sizes, func(x int) shape { return imageShape(x, used, used) }},
	{"image, the used config is all of it", sizes, func(x int) shape { return imageShape(x, ballast, ballast) }},
	{"configs, another one changes", counts, func(x int) shape { return configsShape(x, other) }},
	{"configs, the used one changes", counts, func(x int) shape { return configsShape(x, used) }},
	{"keys, the used config changes", keyCounts, keysShape},
}

var (
	sizes     = []int{1 << 10, 16 << 10, 128 << 10, 1 << 20, 8 << 20, 60 << 20}
	counts    = []int{1, 10, 100, 1000, 10_000}
	keyCounts = []int{10, 100, 1000, 10_000}
)

const (
	other   = "other"   // an unused config of some bytes
	ballast = "ballast" // a large one
)

// imageShape is an image of about so many bytes: a small used config, another
// small one, and ballast.
func imageShape(size int, reads, changes string) shape {
	s := shape{x: size, reads: reads, changed: func(version int) (*image.Section, error) {
		switch changes {
		case used:
			return document(used, 5, version)
		case other:
			return opaque(other, 64, byte(version))
		}
		return opaque(ballast, size, byte(version))
	}}
	s.sections = func() ([]*image.Section, error) {
		return gather(
			func() (*image.Section, error) { return document(used, 5, 0) },
			func() (*image.Section, error) { return opaque(other, 64, 0) },
			func() (*image.Section, error) { return opaque(ballast, size, 0) },
		)
	}
	if reads == used {
		s.key = "weights.elo"
	}
	return s
}

// configsShape is an image of so many configs of a KiB beside the used one, and
// another one that may change.
func configsShape(n int, changes string) shape {
	s := shape{x: n, reads: used, key: "weights.elo"}
	s.sections = func() ([]*image.Section, error) {
		sections, err := gather(
			func() (*image.Section, error) { return document(used, 30, 0) },
			func() (*image.Section, error) { return document(other, 30, 0) },
		)
		for i := 0; i < n-2 && err == nil; i++ {
			var one *image.Section
			one, err = document(fmt.Sprintf("config-%d", i), 30, 0)
			sections = append(sections, one)
		}
		return sections, err
	}
	s.changed = func(version int) (*image.Section, error) { return document(changes, 30, version) }
	return s
}

// keysShape is one config with so many keys.
func keysShape(n int) shape {
	return shape{
		x: n, reads: used, key: "weights.elo",
		sections: func() ([]*image.Section, error) {
			return gather(func() (*image.Section, error) { return document(used, n, 0) })
		},
		changed: func(version int) (*image.Section, error) { return document(used, n, version) },
	}
}

func gather(makers ...func() (*image.Section, error)) (sections []*image.Section, err error) {
	for _, f := range makers {
		s, err := f()
		if err != nil {
			return nil, err
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// pace are how often a shape is published: often, but not for long.
type pace struct {
	most int
	time time.Duration
}

var usualPace = pace{most: 200, time: 600 * time.Millisecond}

// maxImage is the regions' in bytes.
const maxImage = 64 << 20

// measure publishes a shape, with one reader in another process that looks all
// the time.
func (s shape) measure(ctx context.Context, pace pace) (g growthPoint, err error) {
	g.X = s.x
	sections, err := s.sections()
	if err != nil {
		return g, err
	}
	p, err := newPublisher(ctx, maxImage, sections)
	if err != nil {
		return g, err
	}
	defer p.close()
	// In turn; to make them is the decoder's work. One more than there are slots,
	// or a slot would hold already what is to be put into it.
	var versions [shm.DefaultSlots + 1]*image.Section
	for i := range versions {
		if versions[i], err = s.changed(i + 1); err != nil {
			return g, err
		}
	}
	r, err := process.Start(ctx, readerPart, p.dir, s.reads)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	for _, v := range versions { // every slot has its pages
		if _, err := p.publish(v); err != nil {
			return g, err
		}
	}
	if _, err := ask[bool](ctx, []*process.Process{r}, "watch"); err != nil {
		return g, err
	}
	h, err := newHolder(p.writer.Path())
	if err != nil {
		return g, err
	}
	defer h.close()
	var took []float64
	for end := time.Now().Add(pace.time); len(took) < pace.most && (time.Now().Before(end) || len(took) < 10); {
		if err := h.hold(); err != nil {
			return g, err
		}
		d, err := p.publish(versions[len(took)%len(versions)])
		if err != nil {
			return g, err
		}
		took = append(took, float64(d))
		time.Sleep(2*time.Millisecond + 5*d) // for the reader to see each
	}
	refreshes, err := ask[[]float64](ctx, []*process.Process{r}, "refreshes")
	if err != nil {
		return g, err
	}
	if len(refreshes[0]) == 0 {
		return g, fmt.Errorf("the reader saw none of %d publications", len(took))
	}
	g.Image, g.Publish, g.Refresh = int64(p.current.Size()), median(took), median(refreshes[0])
	if g.Region, err = cost.Blocks(p.writer.Path()); err != nil {
		return g, err
	}
	g.ByName, g.ByKey, err = lookUps(p.dir, s.reads, s.key)
	return g, err
}

// lookUps are what it costs a client to find a config that it uses, and a key
// in that, in nanoseconds.
func lookUps(region, config, key string) (byName, byKey float64, err error) {
	c, err := client.Open(region)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	doc, err := c.Get(config)
	if err != nil {
		return 0, 0, err
	}
	byName = each(func() { _, err = c.Get(config) })
	if key == "" || err != nil {
		return byName, 0, err
	}
	byKey = each(func() {
		var n int
		n, err = doc.Int(key)
		runtime.KeepAlive(n) // or the read is optimised away
	})
	return byName, byKey, err
}

// each is how long fn takes: the median of some batches.
func each(fn func()) float64 {
	const batches, batch = 15, 20_000
	times := make([]float64, batches)
	for i := range times {
		start := time.Now()
		for range batch {
			fn()
		}
		times[i] = float64(time.Since(start)) / batch
	}
	return median(times)
}
