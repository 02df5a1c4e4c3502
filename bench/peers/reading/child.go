package reading

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/process"
)

// Marks around the reads that strace counts: an mkdir of a path that can't be.
const (
	beginMark = "/nowhere/begin"
	endMark   = "/nowhere/end"
)

// Sample is what one loop of reads took.
type Sample struct {
	Nanoseconds float64 `json:"ns"`     // a read
	Allocs      float64 `json:"allocs"` // a read
	Bytes       float64 `json:"bytes"`  // of the heap, a read
}

// readerPart is the process that reads. Its arguments are a contestant's name
// and its place as JSON. It takes commands, a line each, and answers each with
// a line of JSON:
//
//	serial NANOSECONDS     read for about that long on one goroutine
//	parallel NANOSECONDS   the same on GOMAXPROCS goroutines
//	marked N               N reads between the marks
var readerPart = process.Register("reading", func(ctx context.Context, args []string, in *bufio.Reader, out io.Writer) error {
	r, err := openArgs(ctx, args)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err := r.Loop(1); err != nil {
		return err
	}
	if err := process.Ready(out, ""); err != nil {
		return err
	}
	reply := json.NewEncoder(out)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var n int
		command, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := fmt.Sscan(number, &n); err != nil {
			return fmt.Errorf("command %q: %w", line, err)
		}
		var s Sample
		switch command {
		case "serial":
			s, err = measure(r, 1, time.Duration(n))
		case "parallel":
			s, err = measure(r, runtime.GOMAXPROCS(0), time.Duration(n))
		case "marked":
			err = marked(r, n)
		default:
			err = fmt.Errorf("unknown command %q", line)
		}
		if err != nil {
			return err
		}
		if err := reply.Encode(s); err != nil {
			return err
		}
	}
})

func openArgs(ctx context.Context, args []string) (*contestant.Reader, error) {
	if len(args) != 2 {
		return nil, errors.New("wants a contestant's name and its place")
	}
	c := contestant.Find(args[0])
	if c == nil {
		return nil, fmt.Errorf("there is no contestant %q", args[0])
	}
	var p contestant.Place
	if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
		return nil, err
	}
	return c.Open(ctx, p)
}

// measure reads for about that long, on so many goroutines.
func measure(r *contestant.Reader, goroutines int, want time.Duration) (Sample, error) {
	// How many reads that is: twice as many until they take a tenth of it.
	n := 1
	for {
		begun := time.Now()
		if _, err := r.Loop(n); err != nil {
			return Sample{}, err
		}
		if took := time.Since(begun); took > want/10 || n > 1<<30 {
			n = max(1, int(float64(n)*float64(want)/float64(max(took, 1))))
			break
		}
		n *= 2
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for i := range goroutines {
		wg.Go(func() { _, errs[i] = r.Loop(n) })
	}
	wg.Wait()
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	reads := float64(n * goroutines)
	return Sample{
		Nanoseconds: float64(took.Nanoseconds()) / float64(n), // what one goroutine waits for a read
		Allocs:      float64(after.Mallocs-before.Mallocs) / reads,
		Bytes:       float64(after.TotalAlloc-before.TotalAlloc) / reads,
	}, errors.Join(errs...)
}

// marked makes n reads between the marks, for strace.
func marked(r *contestant.Reader, n int) error {
	_ = syscall.Mkdir(beginMark, 0) // it can't be made
	_, err := r.Loop(n)
	_ = syscall.Mkdir(endMark, 0)
	return err
}
