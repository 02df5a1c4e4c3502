package scaling

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/cost"
	"github.com/statesync/statesync/client"
)

// The processes of this experiment.
var (
	readerPart = process.Register("scaling-reader", runReader)
	barePart   = process.Register("scaling-bare", runBare)
)

// settings are what a reader has the config decoded into.
type settings struct {
	Version int `json:"version"`
	Weights struct {
		Elo int `json:"elo"`
	} `json:"weights"`
}

// done is what a reader did when it was told to read.
type done struct {
	Reads uint64
	CPU   time.Duration // of the whole process
}

// runReader reads the config of a name in a region. It is told what to do in
// lines, and answers each with one in JSON:
//
//	get 500ms    follow: Binding.Get, for so long
//	in 500ms     be exact: Snapshot and Binding.In
//	rest         give memory back that is not needed
//	watch        time each refresh, and
//	refreshes    say how long each took, in nanoseconds
func runReader(_ context.Context, args []string, in *bufio.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want a region and a config's name", len(args))
	}
	c, err := client.Open(args[0], client.Wait(10*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Get(args[1]); err != nil { // from now on it is a config that is used
		return err
	}
	r := &reader{client: c, config: args[1]}
	if err := process.Ready(out, ""); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // told to stop
		}
		answer, err := r.do(strings.Fields(line))
		if err == nil {
			err = answers.Encode(answer)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
	}
}

type reader struct {
	client  *client.Client
	config  string
	binding *client.Binding[settings]
	watched chan []time.Duration
	enough  chan struct{}
}

func (r *reader) do(order []string) (any, error) {
	switch {
	case len(order) == 2:
		d, err := time.ParseDuration(order[1])
		if err != nil {
			return nil, err
		}
		if r.binding == nil {
			r.binding = client.Bind[settings](r.client, r.config)
		}
		return r.read(order[0], d)
	case len(order) == 1 && order[0] == "rest":
		debug.FreeOSMemory()
		return true, nil
	case len(order) == 1 && order[0] == "watch":
		r.watched, r.enough = make(chan []time.Duration), make(chan struct{})
		go watch(r.client, r.enough, r.watched)
		return true, nil
	case len(order) == 1 && order[0] == "refreshes" && r.enough != nil:
		close(r.enough)
		r.enough = nil
		return <-r.watched, nil
	}
	return nil, fmt.Errorf("no such order")
}

// read reads for a time, a thousand times between looks at the clock.
func (r *reader) read(how string, d time.Duration) (done, error) {
	before, err := cost.CPU(os.Getpid())
	if err != nil {
		return done{}, err
	}
	var result done
	sum := 0
	for end := time.Now().Add(d); time.Now().Before(end); result.Reads += 1000 {
		switch how {
		case "get":
			for range 1000 {
				sum += r.binding.Get().Weights.Elo
			}
		case "in":
			for range 1000 {
				sum += r.binding.In(r.client.Snapshot()).Weights.Elo
			}
		default:
			return done{}, fmt.Errorf("no such way to read")
		}
	}
	runtime.KeepAlive(sum) // or what is read is optimised away
	after, err := cost.CPU(os.Getpid())
	result.CPU = after - before
	return result, err
}

// watch looks at the region all the time, as a busy service does, and notes how
// long the looks took that found a new generation.
func watch(c *client.Client, enough <-chan struct{}, watched chan<- []time.Duration) {
	var took []time.Duration
	last := c.Snapshot().Generation()
	for {
		select {
		case <-enough:
			watched <- took
			return
		default:
		}
		start := time.Now()
		s := c.Snapshot()
		d := time.Since(start)
		if g := s.Generation(); g != last {
			last = g
			took = append(took, d)
		}
	}
}

// runBare is a Go program that reads nothing, to compare with.
func runBare(_ context.Context, _ []string, in *bufio.Reader, out io.Writer) error {
	if err := process.Ready(out, ""); err != nil {
		return err
	}
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return nil //nolint:nilerr // the end of its orders is the end
		}
		debug.FreeOSMemory()
		if _, err := fmt.Fprintln(out, true); err != nil {
			return err
		}
	}
}
