//go:build unix

package daemon

import (
	"iter"
	"log/slog"
	"strings"

	"github.com/statesync/statesync/shm/image"
)

// maxNames is how many names of changed configs a line of the log has.
const maxNames = 10

// changes are what a publication changed, by name.
type changes struct {
	added, changed, removed int
	names                   []string // the first few, sorted
}

// changesBetween compares two images; before is nil for none. Its time is linear in
// the number of configs.
func changesBetween(before, now *image.Image) (c changes) {
	old, end := iter.Pull(configsOf(before))
	defer end()
	o, more := old()
	count := func(n *int, name string) {
		*n++
		if len(c.names) <= maxNames {
			c.names = append(c.names, name)
		}
	}
	for next := range now.Configs() {
		for ; more && o.Name() < next.Name(); o, more = old() {
			count(&c.removed, o.Name())
		}
		switch {
		case !more || o.Name() > next.Name():
			count(&c.added, next.Name())
			continue
		case !o.Equal(next.Section):
			count(&c.changed, next.Name())
		}
		o, more = old()
	}
	for ; more; o, more = old() {
		count(&c.removed, o.Name())
	}
	return c
}

func configsOf(m *image.Image) iter.Seq[image.Config] {
	if m == nil {
		return func(func(image.Config) bool) {}
	}
	return m.Configs()
}

// level is that of the publication's line in the log: configs that are gone may be
// missed.
func (c changes) level() slog.Level {
	if c.removed > 0 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// attributes are those of the publication's line in the log.
func (c changes) attributes() []any {
	names := c.names
	if len(names) > maxNames {
		names = append(names[:maxNames:maxNames], "…")
	}
	return []any{"added", c.added, "changed", c.changed, "removed", c.removed, "names", strings.Join(names, ", ")}
}
