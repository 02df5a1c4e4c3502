//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxPending is how many bytes of the log wait for a slow reader.
	maxPending = 1 << 20
	// flushWait is how long the end of the daemon waits for that reader.
	flushWait = time.Second
)

// logPipe is a writer that never blocks, for a log whose reader may stop: a full
// pipe must not keep the daemon from publishing. Each Write is a line. Lines that
// do not fit are dropped and counted. After the lines before them, one says how many
// there were.
type logPipe struct {
	out     io.Writer
	missing func(lines int) []byte // the line that says so

	mu      sync.Mutex // guards what follows
	more    *sync.Cond // there are lines, or the pipe is closed
	pending [][]byte
	bytes   int
	dropped int
	closed  bool

	ended chan struct{} // closed when the last line is written
}

func newLogPipe(out io.Writer, missing func(lines int) []byte) *logPipe {
	p := &logPipe{out: out, missing: missing, ended: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	go p.run()
	return p
}

// Write takes a line. It does not fail.
func (p *logPipe) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.bytes+len(line) > maxPending {
		p.dropped++
		return len(line), nil
	}
	p.pending = append(p.pending, bytes.Clone(line))
	p.bytes += len(line)
	p.more.Signal()
	return len(line), nil
}

func (p *logPipe) run() {
	defer close(p.ended)
	for {
		p.mu.Lock()
		for len(p.pending) == 0 && p.dropped == 0 && !p.closed {
			p.more.Wait()
		}
		if len(p.pending) == 0 && p.dropped == 0 {
			p.mu.Unlock()
			return
		}
		var line []byte
		if len(p.pending) > 0 {
			line = p.pending[0]
			p.pending, p.bytes = p.pending[1:], p.bytes-len(line)
		} else { // all that came before them is written
			line = p.missing(p.dropped)
			p.dropped = 0
		}
		p.mu.Unlock()
		_, _ = p.out.Write(line) // an error has nowhere to go
	}
}

// close writes what is left, unless that takes longer than flushWait. A line that
// comes later is dropped.
func (p *logPipe) close() {
	p.mu.Lock()
	p.closed = true
	p.more.Signal()
	p.mu.Unlock()
	select {
	case <-p.ended:
	case <-time.After(flushWait):
	}
}

// missingLines is the message of lines that were dropped.
func missingLines(n int) string {
	return fmt.Sprintf("%d lines of the log are missing here: its reader is too slow", n)
}
