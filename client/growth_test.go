//go:build unix

package client_test

import (
	"os"
	"strings"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// growing is the writer of a region that small configs do not fill, and a large
// one makes grow.
func growing(t *testing.T, dir string) *publisher {
	t.Helper()
	p, err := newPublisher(dir, writer.Options{MaxImage: 4 << 20, Group: -1})
	must(t, err)
	t.Cleanup(func() { p.close(t) })
	must(t, p.create(1, configs{"a": number{1}}))
	return p
}

// A region that grows into another file stays the region that it is: waiters
// wait for its generations, and what did not change is the same value.
func TestRegionThatGrowsIsTheSameRegion(t *testing.T) {
	t.Parallel()
	p := growing(t, regionIn(t))
	c := open(t, p.dir())
	b := client.Bind[number](c, "a")
	before, value := c.Snapshot(), b.Get()
	waiting := async(func() error { return c.WaitGeneration(t.Context(), 3) })

	slot := p.Geometry().SlotSize
	g := p.next(t, configs{"a": number{1}, "large": strings.Repeat("x", 1<<20)})
	if p.Geometry().SlotSize == slot {
		t.Fatal("the region did not grow")
	}
	after := c.Snapshot()
	want(t, "the generation", after.Generation(), g)
	want(t, "the region", after.RegionID(), before.RegionID())
	want(t, "Get", b.Get(), value)
	want(t, "In", b.In(after), value)
	doc, err := after.Get("a")
	must(t, err)
	want(t, "the generation of last change", doc.Changed(), 1)
	doc, err = after.Get("large")
	must(t, err)
	want(t, "the generation of last change of what is new", doc.Changed(), 2)

	p.next(t, numbered(3))
	must(t, inTime(t, "WaitGeneration goes on in the larger file", waiting))
	want(t, "Get after the growth", b.Get().N, 3)
}

// A copy of the smaller file has the region's id. It is not taken for the region
// once a later generation was seen.
func TestOlderFileOfTheSameRegionIsNotTaken(t *testing.T) {
	t.Parallel()
	p := growing(t, regionIn(t))
	older, err := os.ReadFile(p.Path())
	must(t, err)
	p.next(t, configs{"a": number{2}, "large": strings.Repeat("x", 1<<20)})
	c := open(t, p.dir())
	b := client.Bind[number](c, "a")
	want(t, "the generation", c.Snapshot().Generation(), 2)

	dir, path := p.dir(), p.Path()
	p.close(t)
	must(t, os.WriteFile(path+".copy", older, 0o600))
	retire(t, path, 2)
	must(t, os.Rename(path+".copy", path))
	r, err := shm.Open(dir, shm.Trust{})
	must(t, err)
	want(t, "the id in the copy", r.ID().String(), c.Snapshot().RegionID())
	for range 3 {
		want(t, "the generation", c.Snapshot().Generation(), 2)
	}
	want(t, "Get", b.Get().N, 2)
	eventually(t, "the copy is refused", func() bool { c.Snapshot(); return c.Stats().RefusedRegions > 0 })
	wantError(t, c.Stats().Err, client.ErrCorrupt, "went back")
}
