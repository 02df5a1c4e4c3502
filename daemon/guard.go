//go:build unix

package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/shm/image"
)

// Guards are what a revision must not do although each of its files is valid. An
// accepted digest lets one content pass.
type Guards struct {
	// MaxRemoved is which part of the configs a revision may remove where there were at
	// least four, in percent: below 0 none, and with 100 all.
	MaxRemoved int
	// MaxRemovedKeys is the same for the keys of each config.
	MaxRemovedKeys int
	// Accept are digests of contents that pass, as those that an operator accepted do.
	Accept []string
}

// fewest is how many configs, or keys, there are at least where a guard counts.
const fewest = 4

// guard refuses a content that takes away too much of what is live; nil lets it pass.
// Content that an operator chose is not guarded.
func (d *Daemon) guard(c *content) *refusal {
	if c.pin != nil || c.plan == nil {
		return nil
	}
	live := sectionsOf(d.region.held)
	if d.region.held == nil {
		if c := d.remembered(); c != nil {
			live = c.sections
		}
	}
	return d.opt.Guards.refuse(live, c, d.intent.Accepted)
}

// refuse is the refusal of a content by what is live; nil lets it pass.
func (g *Guards) refuse(live []*image.Section, c *content, accepted []history.Acceptance) *refusal {
	lost := g.lost(live, c.sections)
	if len(lost) == 0 {
		return nil
	}
	digest := c.origin().digest.of(c.origin().sections)
	if g.accepts(digest, accepted) || slices.Contains(c.plan.Accepts, digest) {
		return nil
	}
	f := &refusal{reason: ReasonGuard, revision: c.revision, key: string(ReasonGuard) + digest}
	for _, what := range lost {
		f.add(&plan.Problem{What: what + "; if that is meant, run statesync accept " + digest}, "")
	}
	return f
}

// accepts reports whether an operator let a content pass.
func (g *Guards) accepts(digest string, accepted []history.Acceptance) bool {
	return slices.Contains(g.Accept, digest) || slices.ContainsFunc(accepted, func(a history.Acceptance) bool { return a.Digest == digest })
}

// lost says what a revision takes away that it must not.
func (g *Guards) lost(live, now []*image.Section) (lost []string) {
	removed := []string{}
	diff.Walk(live, now, func(old, now *image.Section) {
		switch {
		case old == nil:
		case now == nil:
			removed = append(removed, old.Name())
		case shapeOf(old) != shapeOf(now):
			lost = append(lost, fmt.Sprintf("the config %s is %s, and was %s", plain.Text(now.Name()), shapeOf(now), shapeOf(old)))
		case g.MaxRemovedKeys < 100 && old.KeyCount() >= fewest:
			gone := 0
			for key := range old.All() {
				if now.Find(key) == nil {
					gone++
				}
			}
			if gone*100 > max(g.MaxRemovedKeys, 0)*old.KeyCount() {
				lost = append(lost, fmt.Sprintf("%d of the %d keys of the config %s are gone, and --max-removed-keys allows %d %%",
					gone, old.KeyCount(), plain.Text(now.Name()), max(g.MaxRemovedKeys, 0)))
			}
		}
	})
	if len(live) >= fewest && len(removed)*100 > max(g.MaxRemoved, 0)*len(live) {
		names := strings.Join(diff.Names(removed, func(name string) string { return name }), ", ")
		lost = slices.Insert(lost, 0, fmt.Sprintf("%d of %d configs are gone (%s), and --max-removed allows %d %%", len(removed), len(live), names, max(g.MaxRemoved, 0)))
	}
	return lost
}

// shapeOf words what readers rely on that a config is.
func shapeOf(s *image.Section) string {
	switch {
	case s.Kind() == image.Opaque:
		return "opaque"
	case len(s.Content()) > 0 && s.Content()[0] == '[':
		return "a list"
	}
	return "a mapping"
}
