//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowReader is a log's reader that stops until it is let go on.
type slowReader struct {
	bytes.Buffer
	reads chan struct{}
}

func (r *slowReader) Write(line []byte) (int, error) {
	<-r.reads
	return r.Buffer.Write(line)
}

func TestLogPipeCountsWhatItDrops(t *testing.T) {
	t.Parallel()
	out := &slowReader{reads: make(chan struct{})}
	p := newLogPipe(out, func(lines int) []byte { return []byte(missingLines(lines) + "\n") })
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const written = 3 * maxPending / 1024
	for range written {
		if n, err := p.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	close(out.reads)
	p.close()
	<-p.ended
	kept := strings.Count(out.String(), "x\n")
	if kept < maxPending/1024 || kept > maxPending/1024+1 {
		t.Errorf("%d lines were kept", kept)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("\n%d lines of the log are missing", written-kept)) {
		t.Errorf("the log ends with %q", out.String()[max(0, out.Len()-200):])
	}
}

func TestLogPipeWritesInOrderToTheEnd(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newLogPipe(&out, nil)
	var want bytes.Buffer
	for i := range 1000 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want.Write(line)
		_, _ = p.Write(line)
	}
	p.close()
	if out.String() != want.String() {
		t.Errorf("the log is %q", out.String())
	}
}

// A full pipe must not stop publishing, nor the end.
func TestLogThatIsNotRead(t *testing.T) {
	h := newHost(t)
	h.put("x: 0\n")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	p := exec.Command(h.binary, "--source=dir:"+h.source, "--region="+h.region, "--state-dir="+h.state, "--max-image=1MiB",
		"--listen=off", "--log-level=debug")
	p.Env = []string{beDaemon + "=1", "GORACE=atexit_sleep_ms=0"}
	p.Stderr = writer
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill() }()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the region", h.published)
	// A pipe has room for 64 KiB. The 100 lines of each revision's problems fill it.
	bad := filepath.Join(h.source, "bad")
	for i := range 10 {
		next := filepath.Join(h.base, fmt.Sprint("bad-", i))
		if err := os.Mkdir(next, 0o755); err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			if err := os.WriteFile(filepath.Join(next, fmt.Sprint(n, ".yaml")), fmt.Appendf(nil, "%s: [%d\n", strings.Repeat("x", 100), i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.RemoveAll(bad), os.Rename(next, bad)); err != nil {
			t.Fatal(err)
		}
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // for the daemon to read it: a revision that is skipped is only less of a log
	}
	if err := os.RemoveAll(bad); err != nil {
		t.Fatal(err)
	}
	h.put("x: 1\n")
	await(t, "a publication while the log is not read", func() bool {
		_, m, err := h.look()
		return err == nil && m != nil && m.Generation() == 2
	})
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end on SIGTERM")
	}
}
