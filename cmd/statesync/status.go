package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// report is all that status says, and its JSON. What is not known, or never
// happened, is null there.
type report struct {
	Path     string    `json:"path"`
	RegionID string    `json:"region_id"`
	Layout   int       `json:"layout"`
	Slots    int       `json:"slots"`
	SlotSize int64     `json:"slot_size"` // bytes: the greatest image that it can hold
	Created  time.Time `json:"created"`
	Retired  bool      `json:"retired"`

	Generation uint64     `json:"generation"`
	Revision   *string    `json:"revision"` // the published one
	Published  *time.Time `json:"published"`
	Age        *float64   `json:"age_seconds"` // since it was published, if the clock of the day knows
	Configs    *int       `json:"configs"`
	ImageSize  *int       `json:"image_size"` // bytes

	WriterAlive   bool       `json:"writer_alive"`
	WriterState   string     `json:"writer_state"`
	WriterPID     *int       `json:"writer_pid"` // as its own namespace counts
	WriterStarted *time.Time `json:"writer_started"`
	Heartbeat     *time.Time `json:"heartbeat"`
	HeartbeatAge  *float64   `json:"heartbeat_age_seconds"`

	Observed       *string    `json:"observed_revision"` // the newest with this content
	SourceLastGood *time.Time `json:"source_last_good"`
	SourceAge      *float64   `json:"source_age_seconds"`
	Problem        string     `json:"problem"` // why a newer revision is not published

	Problems      []control.Problem `json:"problems"`       // each of the reasons, as many as the region has room for
	ProblemsFound int               `json:"problems_found"` // all of them

	Fresh     *bool         `json:"fresh"`     // each source was looked at in time
	Converged *bool         `json:"converged"` // what the sources come to is what is live
	Held      *bool         `json:"held"`      // an operator holds it back
	Layers    []layerReport `json:"layers"`    // the lowest first

	// Of a daemon that answers; null if it does not.
	Pin       *control.Pin       `json:"pin"`       // what an operator holds
	Overrides []control.Override `json:"overrides"` // in force, and suspended
	Waiting   *control.Waiting   `json:"waiting"`   // what would be live were it not held or guarded
	History   *control.History   `json:"history"`
	Control   *string            `json:"control"` // the path of the control socket

	Damage string `json:"damage,omitempty"` // why the image or the status cannot be read

	unit unit // of the daemon
}

// layerReport is what status says of one source.
type layerReport struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`        // in use
	Meta     map[string]string `json:"meta,omitempty"` // of a daemon that answers: what the source says of the version
	LastGood *time.Time        `json:"last_good"`
	Age      *float64          `json:"age_seconds"`
	Problem  string            `json:"problem"` // why its newest is not in use
}

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the region, its daemon and its source are doing",
		Long: `Show the current generation, the revision of the source that it came from, and
how the daemon and its source are doing; below that, what is wrong, if anything
is, and what to do about it. What operators hold back or override, and what
a guard refused, comes before all else, with what waits behind it. That is not
an error: a host that is held is healthy.

A dead daemon alone is not an error, since programs keep reading. With
--max-age, a daemon that has been silent for longer than that is an error, and
so is a source that has not been valid for longer than that: statesync then
names the one that is stale and exits with 1. Use this for monitoring, and as a
probe.

It also exits with 1 where what it shows is damaged. As json, times are in RFC
3339 and ages in seconds; what is not known, or never happened, is null.`,
		Example: `  statesync status
  statesync status --max-age 1m
  statesync status -o json | jq .source_last_good`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output(cmd, "text", "json")
	maxAge := cmd.Flags().Duration("max-age", 0, "exit with 1 if the daemon or its source is staler than this `time`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		limited := cmd.Flags().Changed("max-age")
		if limited && *maxAge <= 0 {
			return usageError{fmt.Errorf("--max-age %s: it must be more than nothing", maxAge)}
		}
		region, err := a.open()
		if err != nil {
			return err
		}
		s := a.report(region)
		s.ask(cmd.Context(), a)
		if format.word == "json" {
			err = printJSON(a.stdout, s, "  ")
		} else {
			err = a.printReport(s)
		}
		if err == nil && limited {
			err = s.stale(*maxAge)
		}
		if err == nil && s.Damage != "" {
			err = errNo
		}
		return err
	}
	return cmd
}

// report looks at everything. It is as complete as what can be read.
func (a *app) report(r *shm.Region) *report {
	s := &report{
		Path: r.Path(), RegionID: r.ID().String(), Layout: shm.LayoutVersion, Created: r.Created().UTC(),
		Slots: r.Geometry().Slots, SlotSize: r.Geometry().SlotSize, WriterState: shm.Unknown.String(),
		unit: unitOf(a.dir(), packagedUnit),
	}
	hot, err := r.Hot()
	if err == nil {
		s.Generation, s.Retired = hot.Generation(), hot.Retired()
		err = s.image(r)
	}
	status, statusErr := writerStatus(r)
	if statusErr == nil {
		s.writer(status)
	}
	switch {
	case err != nil:
		s.Damage = a.explain(err).Error()
	case errors.Is(statusErr, shm.ErrBusy):
		s.WriterAlive = r.Beating()
		s.Damage = halfStatus + "; start statesyncd, which writes it again"
	case statusErr != nil:
		s.Damage = a.explain(statusErr).Error()
	}
	return s
}

// halfStatus says what writerStatus found where the error is shm.ErrBusy.
const halfStatus = "the daemon died, or was stopped, while it was writing its status"

// writerStatus is what the daemon says of itself. A daemon that is alive may have to wait
// for a processor while it writes that, and is waited for.
func writerStatus(r *shm.Region) (s shm.Status, err error) {
	const tries, pause = 20, 10 * time.Millisecond
	for range tries {
		if s, err = r.Status(); !errors.Is(err, shm.ErrBusy) {
			break
		}
		time.Sleep(pause)
	}
	return s, err
}

// ask adds what only the daemon knows, if it answers soon.
func (s *report) ask(ctx context.Context, a *app) {
	d, err := a.briefly(ctx)
	if err != nil {
		return
	}
	s.Pin, s.Overrides, s.Waiting, s.History, s.Control = d.Pin, d.Overrides, d.Waiting, &d.History, &d.Control
	for i := range s.Layers {
		for _, l := range d.Layers {
			if l.Name == s.Layers[i].Name && l.Version == s.Layers[i].Version {
				s.Layers[i].Meta = l.Meta
			}
		}
	}
}

// image adds what the image says.
func (s *report) image(r *shm.Region) error {
	var (
		generation uint64
		revision   string
		published  time.Time
		configs    int
		size       int
	)
	_, err := r.Read(func(hot seqlock.Hot, words []uint64) error {
		v, err := image.Open(words, hot.Generation())
		if err != nil {
			return err
		}
		generation, published, configs, size = hot.Generation(), v.Published().UTC(), v.Len(), 8*len(words)
		revision, err = v.Revision()
		return err
	})
	if err != nil {
		return err
	}
	s.Generation, s.Revision, s.Published = generation, &revision, &published
	s.Configs, s.ImageSize = &configs, &size
	if age := time.Since(published); age >= 0 { // or else the clock was set back
		s.Age = seconds(age)
	}
	return nil
}

// writer adds what the daemon says of itself.
func (s *report) writer(status shm.Status) {
	started := status.Started.UTC()
	s.WriterAlive, s.WriterState = status.Alive(), status.State.String()
	s.WriterPID, s.WriterStarted = &status.PID, &started
	s.Observed, s.Problem = &status.Observed, status.Problem
	s.Heartbeat, s.HeartbeatAge = since(status.Heartbeat)
	s.SourceLastGood, s.SourceAge = since(status.SourceGood)
	s.Problems, s.ProblemsFound = make([]control.Problem, len(status.Findings)), status.Found
	for i, f := range status.Findings {
		s.Problems[i] = control.Problem(f)
	}
	s.Fresh, s.Converged, s.Held = &status.Fresh, &status.Converged, &status.Held
	for _, l := range status.Layers {
		layer := layerReport{Name: l.Name, Version: l.Version, Problem: l.Problem}
		layer.LastGood, layer.Age = since(l.Good)
		s.Layers = append(s.Layers, layer)
	}
}

// since turns a point on the clock of Boottime into one of the calendar and
// the seconds since then: nil for never. A point in the future is from before
// the machine was started.
func since(at time.Duration) (*time.Time, *float64) {
	now := shm.Boottime()
	if at <= 0 || at > now {
		return nil, nil
	}
	t := time.Now().Add(at - now).UTC().Truncate(time.Millisecond)
	return &t, seconds(now - at)
}

func seconds(d time.Duration) *float64 {
	s := d.Round(time.Millisecond).Seconds()
	return &s
}

// stale says what is older than a limit; what never happened always is.
func (s *report) stale(limit time.Duration) error {
	if s.WriterPID == nil {
		return errors.New("stale: the daemon's status cannot be read, so its age is not known")
	}
	old := func(what string, age *float64) error {
		switch {
		case age == nil:
			return fmt.Errorf("stale: %s: never, and --max-age is %s", what, limit)
		case *age > limit.Seconds():
			return fmt.Errorf("stale: %s: %s ago, and --max-age is %s", what, ago(age), limit)
		}
		return nil
	}
	return errors.Join(
		old("the daemon's last heartbeat", s.HeartbeatAge),
		old("the source was last valid", s.SourceAge),
	)
}

// ago words an age in seconds.
func ago(age *float64) string { return span(time.Duration(*age * float64(time.Second))) }
