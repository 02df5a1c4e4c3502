//go:build unix

package daemon

import (
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/shm/image"
)

// content is what the region can hold. It is immutable, and is compared by its pointer.
type content struct {
	revision string
	sections []*image.Section // sorted by name
	digest   *digest

	plan      *plan.Plan   // that it comes from; nil if that is not known
	base      *content     // without overrides; nil: it has none
	overrides *overrides   // that it has
	pin       *history.Pin // that holds it; nil: it comes from the sources

	// Of the record that it comes from, if it does.
	layers    []history.Layer
	published time.Time
}

// contentOf is the content of an image that was published before.
func contentOf(m *image.Image) *content {
	return &content{revision: m.Revision(), sections: m.Sections(), digest: &digest{}}
}

// contentOfPlan is the content of a plan that is not refused.
func contentOfPlan(p *plan.Plan) *content {
	c := &content{revision: p.Version, plan: p, sections: make([]*image.Section, len(p.Configs)), digest: &digest{}}
	for i := range p.Configs {
		c.sections[i] = p.Configs[i].Section
	}
	return c
}

// origin is the content without overrides.
func (c *content) origin() *content {
	if c.base != nil {
		return c.base
	}
	return c
}

// index finds a config.
func (c *content) index(name string) (i int, ok bool) {
	return find(c.sections, name)
}

// find finds a config among those that are sorted by name.
func find(configs []*image.Section, name string) (i int, ok bool) {
	return slices.BinarySearchFunc(configs, name, func(s *image.Section, name string) int { return strings.Compare(s.Name(), name) })
}
