package scaling

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// used is the config that the readers use.
const used = "matchmaker"

// text is a config with so many keys as JSON, some 35 bytes for each; 30 keys
// are about a KiB. Its content depends on version.
func text(keys, version int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"version":%d,"weights":{"elo":%d}`, version, 1500+version%100)
	for i := range max(keys-3, 0) { // version, weights, weights.elo
		fmt.Fprintf(&b, `,"setting_%05d":%q`, i, strings.Repeat(string(rune('a'+i%26)), 18))
	}
	b.WriteString("}")
	return []byte(b.String())
}

// document is such a config as a part of an image.
func document(name string, keys, version int) (*image.Section, error) {
	canonical, err := image.Canonical(text(keys, version))
	if err != nil {
		return nil, err
	}
	return image.NewDocument(name, canonical)
}

// opaque is a config of so many bytes that only its readers know.
func opaque(name string, size int, fill byte) (*image.Section, error) {
	return image.NewOpaque(name, slices.Repeat([]byte{fill}, max(size, 1)))
}

// tempRegion is where a region may be made, in shared memory.
func tempRegion() (dir string, remove func(), err error) {
	parent, err := os.MkdirTemp("/dev/shm", "statesync-scaling-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(parent, "region"), func() { _ = os.RemoveAll(parent) }, nil
}

// publisher is a region and what was last published into it.
type publisher struct {
	dir      string
	remove   func()
	writer   *writer.Writer
	sections []*image.Section
	current  *image.Image
}

// newPublisher makes a region with these configs in it.
func newPublisher(ctx context.Context, maxImage int64, sections []*image.Section) (*publisher, error) {
	dir, remove, err := tempRegion()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sections, func(a, b *image.Section) int { return strings.Compare(a.Name(), b.Name()) })
	p := &publisher{dir: dir, remove: remove, sections: sections}
	if p.writer, err = writer.Own(ctx, dir, writer.Options{MaxImage: maxImage, Group: -1}); err != nil {
		remove()
		return nil, err
	}
	if p.current, err = image.Build(1, "scaling", sections, nil); err == nil {
		err = p.writer.Create(1, p.current.Words())
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *publisher) close() {
	_ = p.writer.Close()
	p.remove()
}

// publish replaces a config, as the daemon does it when a file has changed, and
// says how long that took: from decoded configs to the wake of the readers.
func (p *publisher) publish(s *image.Section) (time.Duration, error) {
	at := slices.IndexFunc(p.sections, func(old *image.Section) bool { return old.Name() == s.Name() })
	start := time.Now()
	p.sections[at] = s
	next, err := image.Build(p.current.Generation()+1, "scaling", p.sections, p.current)
	if err == nil {
		err = p.writer.Publish(next.Generation(), next.Words())
	}
	took := time.Since(start)
	if err == nil {
		p.current = next
		err = p.writer.Beat()
	}
	return took, err
}

func median[T ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
