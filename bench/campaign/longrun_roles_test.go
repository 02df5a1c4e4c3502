//go:build linux

package campaign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
)

func init() {
	roles["longrun-publish"] = longrunPublish
	roles["longrun-change"] = longrunChange
	roles["longrun-exact"] = longrunExact
	roles["longrun-follow"] = longrunFollow
}

// longrunStamp is the config that changes with each publication. It has the time at
// which it was sent, and a digest that verifies it.
type longrunStamp struct {
	Number  int    `json:"number"`
	Sent    int64  `json:"sent"` // as monotonic says
	Payload string `json:"payload"`
	Digest  string `json:"digest"`
}

const longrunName = "longrun"

func newLongrunStamp(number int) longrunStamp {
	s := longrunStamp{Number: number, Sent: monotonic(), Payload: strings.Repeat(string(rune('a'+number%26)), 1+number%300)}
	s.Digest = s.sum()
	return s
}

func (s *longrunStamp) sum() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s", s.Number, s.Sent, s.Payload))
	return hex.EncodeToString(sum[:])
}

// check says what is wrong with a stamp.
func (s *longrunStamp) check() error {
	if s.Digest != s.sum() {
		return fmt.Errorf("stamp %d does not prove itself", s.Number)
	}
	return nil
}

// pace calls a function at a steady rate until the context ends, and returns the
// number of calls and for how long. If it falls behind by more than a tenth of a
// second, it skips the calls that it missed.
func pace(ctx context.Context, rate int, call func(number int) error) (calls int, took time.Duration, err error) {
	every := time.Second / time.Duration(rate)
	began := time.Now()
	for next := began; ctx.Err() == nil; next = next.Add(every) {
		if ahead := time.Until(next); ahead > 0 {
			time.Sleep(ahead)
		} else if ahead < -100*time.Millisecond {
			next = time.Now()
		}
		calls++
		if err := call(calls); err != nil {
			return calls, time.Since(began), err
		}
	}
	return calls, time.Since(began), nil
}

// longrunSection is a config of an image.
func longrunSection(name string, content any) (*image.Section, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	if text, err = image.Canonical(text); err != nil {
		return nil, err
	}
	return image.NewDocument(name, text)
}

// longrunSections are a revision that proves itself, and the stamp.
func longrunSections(number int) ([]*image.Section, error) {
	var sections []*image.Section
	for name, c := range revision(number, 500) {
		section, err := longrunSection(name, c)
		if err != nil {
			return nil, err
		}
		sections = append(sections, section)
	}
	stamp, err := longrunSection(longrunName, newLongrunStamp(number))
	return append(sections, stamp), err
}

// longrunPublish publishes as the daemon does, without its source: arguments
// are the region's directory and a rate.
func longrunPublish(ctx context.Context, args []string) error {
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	p, err := newPublisher(ctx, args[0])
	if err != nil {
		return err
	}
	calls, took, err := pace(ctx, rate, func(number int) error {
		sections, err := longrunSections(number)
		if err != nil {
			return err
		}
		return p.publish(uint64(number), strconv.Itoa(number), sections)
	})
	fmt.Printf("last %d published, %.1f a second\n", calls, float64(calls)/took.Seconds())
	return errors.Join(err, p.Close())
}

// longrunChange changes the stamp's file in a source by rename: arguments are
// the source's directory and a rate.
func longrunChange(ctx context.Context, args []string) error {
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	replace := func(name string, content any) error {
		text, err := json.Marshal(content)
		path := filepath.Join(args[0], name)
		temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(temp, text, 0o644)
		}
		if err == nil {
			err = os.Rename(temp, path)
		}
		return err
	}
	for name, c := range revision(1, 500) {
		if err := replace(name+".json", c); err != nil {
			return err
		}
	}
	if err := replace(longrunName+".json", newLongrunStamp(0)); err != nil {
		return err
	}
	fmt.Println("ready")
	calls, took, err := pace(ctx, rate, func(number int) error {
		return replace(longrunName+".json", newLongrunStamp(number))
	})
	fmt.Printf("last %d changes of the source, %.1f a second\n", calls, float64(calls)/took.Seconds())
	return err
}

// longrunResult is what a reader has seen.
type longrunResult struct {
	Seen       uint64 // stamps
	Last       int    // number of the last one
	Read, Lag  histogram
	Goroutines []int
	Dead       uint64 // looks at which the daemon seemed so, and published later
	Retries    uint64
	Torn       uint64
	Faults     uint64
}

func (r *longrunResult) merge(o *longrunResult) {
	r.Seen += o.Seen
	r.Read.merge(&o.Read)
	r.Lag.merge(&o.Lag)
	r.Goroutines = append(r.Goroutines, o.Goroutines...)
	r.Dead += o.Dead
	r.Retries += o.Retries
	r.Torn += o.Torn
	r.Faults += o.Faults
}

// longrunReader is what both kinds of readers have in common: it looks at a
// steady rate until the context ends, and prints what it has seen. Arguments
// are the region's directory, how often to sample the process, and how often
// an exact reader looks.
type longrunReader struct {
	*client.Client
	stamp *client.Binding[longrunStamp]
	last  int    // number of the newest stamp
	dead  uint64 // looks at which the daemon seemed so, since then
	longrunResult
}

// newer records a stamp, and reports whether it differs from the last one.
func (r *longrunReader) newer(stamp *longrunStamp) (bool, error) {
	if stamp.Number < r.last {
		return false, fmt.Errorf("it went back from stamp %d to %d", r.last, stamp.Number)
	}
	newer := stamp.Number > r.last
	if r.last = stamp.Number; newer {
		r.Dead, r.dead = r.Dead+r.dead, 0 // it published, so it was alive
	}
	return newer, stamp.check()
}

func (r *longrunReader) run(ctx context.Context, args []string, every time.Duration, look func() error) error {
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	looks, samples := time.NewTicker(every), time.NewTicker(interval)
	defer looks.Stop()
	defer samples.Stop()
	for ctx.Err() == nil {
		select {
		case <-looks.C:
			if err := look(); err != nil {
				return err
			}
		case <-samples.C:
			r.Goroutines = append(r.Goroutines, runtime.NumGoroutine())
			if !r.Stats().DaemonAlive {
				r.dead++
			}
		case <-ctx.Done():
		}
	}
	// Publishing has ended: the newest stamp is the last one.
	enough, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := r.Snapshot()
	if err := r.WaitGeneration(enough, s.Generation()); err != nil {
		return err
	}
	exact, following := r.stamp.In(s).Number, r.stamp.Get().Number
	if r.Last = exact; exact != following {
		return fmt.Errorf("the last stamp is %d for Snapshot and %d for Get", exact, following)
	}
	stats := r.Stats()
	r.Retries, r.Torn, r.Faults = stats.Retries, stats.TornReads, stats.Faults
	if stats.Err != nil || stats.Rejections > 0 {
		return fmt.Errorf("%d values rejected, error %w", stats.Rejections, stats.Err)
	}
	if err := r.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(&r.longrunResult)
}

// longrunExact takes a Snapshot every so often, as a server does for each
// request, and has each new generation prove itself.
func longrunExact(ctx context.Context, args []string) error {
	every, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	c, err := client.Open(args[0], client.Wait(patience))
	if err != nil {
		return err
	}
	r := &longrunReader{Client: c, stamp: client.Bind[longrunStamp](c, longrunName)}
	for _, name := range provenNames {
		if _, err := c.Get(name); err != nil { // from now on each snapshot has it
			return err
		}
	}
	return r.run(ctx, args, every, func() error {
		began := time.Now()
		s := c.Snapshot()
		r.Read.add(time.Since(began))
		newer, err := r.newer(r.stamp.In(s))
		if err != nil || !newer {
			return err
		}
		r.Lag.add(time.Duration(monotonic() - r.stamp.In(s).Sent))
		r.Seen++
		_, err = prove(s)
		return err
	})
}

// longrunFollow has only a binding, so that only the follower updates it.
func longrunFollow(ctx context.Context, args []string) error {
	c, err := client.Open(args[0], client.Wait(patience))
	if err != nil {
		return err
	}
	r := &longrunReader{Client: c}
	var seen atomic.Uint64
	r.stamp = client.Bind(c, longrunName, client.Options[longrunStamp]{Validate: func(stamp *longrunStamp) error {
		if seen.Add(1) > 1 { // the first one may be as old as the region
			r.Lag.add(time.Duration(monotonic() - stamp.Sent))
		}
		return stamp.check()
	}})
	return r.run(ctx, args, 10*time.Millisecond, func() error {
		_, err := r.newer(r.stamp.Get())
		r.Seen = seen.Load()
		return err
	})
}
