//go:build linux

package campaign

import (
	"context"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// publisher publishes as the daemon does, without its source: faster than one.
type publisher struct {
	*writer.Writer
	held *image.Image
	beat time.Time
}

func newPublisher(ctx context.Context, dir string) (*publisher, error) {
	w, err := writer.Own(ctx, dir, writer.Options{MaxImage: 1 << 20, Group: -1})
	return &publisher{Writer: w, beat: time.Now()}, err
}

// publish makes generation g of the sections, in a new region if it is the
// first, and keeps the heart beating.
func (p *publisher) publish(g uint64, revision string, sections []*image.Section) error {
	m, err := image.Build(g, revision, sections, p.held)
	if err != nil {
		return err
	}
	if p.held == nil {
		err = p.Create(g, m.Words())
	} else {
		err = p.Publish(g, m.Words())
	}
	p.held = m
	if err == nil && time.Since(p.beat) >= shm.HeartbeatInterval {
		p.beat = time.Now()
		err = p.Beat()
	}
	return err
}
