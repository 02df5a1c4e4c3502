//go:build unix

package daemon

import (
	"log/slog"
	"strings"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/shm/image"
)

// Changes are what a publication changed or would change, by name.
type Changes struct {
	Added, Changed, Removed int
	Names                   []string // the first few, sorted, and "…" if there are more
}

// changesBetween compares two lists of configs, each sorted by name.
func changesBetween(before, now []*image.Section) (c Changes) {
	diff.Walk(before, now, func(old, now *image.Section) {
		name := ""
		switch {
		case old == nil:
			c.Added++
			name = now.Name()
		case now == nil:
			c.Removed++
			name = old.Name()
		default:
			c.Changed++
			name = now.Name()
		}
		switch n := len(c.Names); {
		case n < diff.MaxNames:
			c.Names = append(c.Names, name)
		case n == diff.MaxNames:
			c.Names = append(c.Names, "…")
		}
	})
	return c
}

// sectionsOf are an image's; nil has none.
func sectionsOf(m *image.Image) []*image.Section {
	if m == nil {
		return nil
	}
	return m.Sections()
}

// level is that of the publication's line in the log: configs that are gone may be
// missed.
func (c Changes) level() slog.Level {
	if c.Removed > 0 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// attributes are those of the publication's line in the log.
func (c Changes) attributes() []any {
	return []any{"added", c.Added, "changed", c.Changed, "removed", c.Removed, "names", strings.Join(c.Names, ", ")}
}
