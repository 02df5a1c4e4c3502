package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// verification is one run of verify.
type verification struct {
	app      *app
	findings int
	whole    int // how many generations were found whole
}

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check every sequence, bound and sum of a region",
		Long: `Walk through a region and check all of it: its identity, the sequences of its
slots, and in the current generation and in each older one that is still whole
every bound and checksum, that the indexes lead to every config and key, and
that configs which count as unchanged between two generations are equal.

It prints a line for each finding, and exits with 1 if there is one. The writer
may keep publishing meanwhile. Slots beyond the generation that is current at
the start, and those that are being written, are skipped.`,
		Example: `  statesync verify
  statesync verify --region /dev/shm/statesync/eu && echo whole`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := &verification{app: a}
			return v.run()
		},
	}
}

func (v *verification) run() error {
	owners, err := v.app.trusted()
	if err != nil {
		return err
	}
	r, err := shm.Open(v.app.dir(), shm.Trust{Owners: owners})
	switch {
	case errors.Is(err, shm.ErrCorrupt), errors.Is(err, shm.ErrFault):
		v.finding("%v", err)
		return v.done(v.app.dir())
	case err != nil:
		return v.app.explain(err)
	}
	if g, m := v.current(r); g != 0 {
		v.older(r, g, m)
	}
	if _, err := writerStatus(r); errors.Is(err, shm.ErrBusy) {
		fmt.Fprintln(v.app.stderr, halfStatus+", which can't be read; its successor will repair that")
	} else if err != nil {
		v.finding("the writer's status: %v", err)
	}
	return v.done(r.Path())
}

func (v *verification) done(what string) error {
	fmt.Fprintf(v.app.stderr, "%s: %s whole, %s\n", escape(what), count(v.whole, "generation"), count(v.findings, "finding"))
	if v.findings > 0 {
		return errNo
	}
	return nil
}

// finding prints one line.
func (v *verification) finding(format string, args ...any) {
	v.findings++
	fmt.Fprintln(v.app.stdout, escape(strings.TrimSpace(fmt.Sprintf(format, args...))))
}

// current verifies the current generation, and returns which one that is (0 if
// that can't be told) and its image (nil if it is damaged).
func (v *verification) current(r *shm.Region) (g uint64, m *image.Image) {
	before, err := r.Hot()
	if err != nil {
		v.finding("the hot word: %v", err)
		return 0, nil
	}
	read := before
	_, err = r.Read(func(hot seqlock.Hot, words []uint64) (err error) {
		read = hot
		m, err = image.Load(words, hot.Generation())
		return err
	})
	return read.Generation(), v.verdict(r, read.Generation(), m, err)
}

// older verifies what else is whole in the ring, and holds each generation
// against the one after it.
func (v *verification) older(r *shm.Region, current uint64, next *image.Image) {
	for n := uint64(1); n < uint64(r.Geometry().Slots) && n < current; n++ {
		g := current - n
		var m *image.Image
		err := r.ReadGeneration(g, func(_ seqlock.Hot, words []uint64) (err error) {
			m, err = image.Load(words, g)
			return err
		})
		if errors.Is(err, shm.ErrExpired) {
			m = nil
			v.expired(r, g)
		} else {
			m = v.verdict(r, g, m, err)
		}
		if m != nil && next != nil {
			v.compare(m, next)
		}
		next = m
	}
}

// expired is about the slot of a generation that is not whole. The writer has
// taken it for a later one, or has never been there; anything else is damage.
func (v *verification) expired(r *shm.Region, g uint64) {
	n := int(g % uint64(r.Geometry().Slots))
	sequence, _, err := r.Slot(n)
	if err != nil {
		v.finding("slot %d: %v", n, err)
		return
	}
	holds := (sequence - 1) / 2 // 2g+1 while g is written, 2g+2 once it is whole
	if sequence != 0 && (holds <= g || holds%uint64(r.Geometry().Slots) != uint64(n)) {
		v.finding("slot %d: its sequence %d should be %d, of generation %d, or that of a later one", n, sequence, 2*g+2, g)
	}
}

// verdict is about one generation. It returns the image unless that is damaged.
func (v *verification) verdict(r *shm.Region, g uint64, m *image.Image, err error) *image.Image {
	if err != nil {
		v.finding("generation %d, in slot %d: %v", g, g%uint64(r.Geometry().Slots), err)
		return nil
	}
	v.whole++
	for c := range m.Configs() {
		if c.Changed > g || c.Changed == 0 {
			v.finding("generation %d: config %s claims to have changed in generation %d", g, c.Name(), c.Changed)
		}
		if err := image.CheckName(c.Name()); err != nil {
			v.finding("generation %d: %v", g, err)
		}
	}
	return m
}

// compare holds a generation against the next one.
func (v *verification) compare(m, next *image.Image) {
	before := make(map[string]image.Config, m.Len())
	for c := range m.Configs() {
		before[c.Name()] = c
	}
	for c := range next.Configs() {
		old, ok := before[c.Name()]
		same := ok && old.Equal(c.Section)
		switch {
		case same && c.Changed != old.Changed:
			v.finding("generation %d: config %s is as in the generation before, which says that it changed in %d, and this one says %d",
				next.Generation(), c.Name(), old.Changed, c.Changed)
		case !same && c.Changed != next.Generation():
			v.finding("generation %d: config %s is not as in the generation before, and says that it last changed in %d",
				next.Generation(), c.Name(), c.Changed)
		}
	}
}
