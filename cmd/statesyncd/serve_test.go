//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/admin"
)

// ask is the code and the body of a GET; 0 while nothing answers.
func ask(t *testing.T, socket, path string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	answer, err := c.Get("http://statesyncd" + path)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// Metrics and health report each state of a daemon, from its start to its successor's.
func TestMetricsAndHealth(t *testing.T) {
	h := newHost(t)
	socket := filepath.Join(h.base, "admin")
	listen := "--listen=unix:" + socket
	says := func(path string, code int, parts ...string) {
		t.Helper()
		await(t, path+" to say "+strings.Join(parts, ", "), func() bool {
			got, text := ask(t, socket, path)
			for _, part := range parts {
				if !strings.Contains(text, part) {
					return false
				}
			}
			return got == code
		})
	}
	first := h.start(listen)
	says("/livez", 200, "live       ok  the loop ended a turn ")
	says("/readyz", 503, "ready      NO  no generation is published yet", "fresh      NO  the source dir:", " was never read", "converged  NO ", "refused: ")
	h.put("x: 1\n")
	says("/readyz", 200, "readers find generation 1")
	says("/healthz", 200, "fresh      ok", "converged  ok")
	says("/metrics", 200, "\nstatesync_generation 1\n", "\nstatesync_config_last_reload_successful 1\n", "\nstatesync_publish_duration_seconds_count 1\n")
	h.put("x: [\n")
	says("/metrics", 200, "\nstatesync_config_last_reload_successful 0\n", "\nstatesync_generation 1\n", `statesync_rejections_total{reason="invalid"} `)
	says("/healthz", 200, "refused: a.yaml:") // it is not stale yet

	// A successor waits for the address as for the region, and continues with what
	// it finds.
	second := h.start(listen)
	h.signal(first, syscall.SIGTERM)
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	await(t, "the successor", func() bool { return strings.Contains(second.log(), "msg=attached") })
	says("/readyz", 200, "readers find generation 1", "refused: a.yaml:")
	says("/metrics", 200, "\nstatesync_publications_total 0\n", "\nstatesync_source_last_good_timestamp_seconds ", `revision="dir@sha256:`)

	// One that has no business with it ends, and says why.
	h.region += "2"
	third := h.start(listen, "--lock-wait=0s", "--state-dir=")
	err := third.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(third.log(), "give this daemon another address with --listen") {
		t.Errorf("it ended with %v", err)
	}
}

// The default address, which another program has, stops no publication.
func TestDefaultAddressIsTaken(t *testing.T) {
	for range 50 { // another test's daemon may have it for a moment
		if l, err := net.Listen("tcp", admin.DefaultAddress); err == nil {
			defer l.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	} // or else another program has it, indeed
	h := newHost(t)
	h.put("x: 1\n")
	h.env = []string{"STATESYNC_LISTEN="} // counts as not set
	p := h.startBare("--source=dir:"+h.source, "--region="+h.region, "--state-dir=", "--max-image=1MiB")
	await(t, "the publication", h.published)
	await(t, "the warning that there are no metrics", func() bool {
		return strings.Contains(p.log(), "level=WARN") && strings.Contains(p.log(), "no metrics")
	})
	h.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// The default address is taken as soon as it is free.
func TestDefaultAddressIsTriedAgain(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &settings{listen: taken.Addr().String()}
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	l, err := s.address(ctx)
	if l != nil || err != nil || !strings.Contains(log.String(), "will be retried") {
		t.Fatal(l, err, log.String())
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		s.tell(ctx, admin.New(daemon.New(daemon.Options{}), admin.Options{Log: slog.New(slog.DiscardHandler)}), nil)
	})
	taken.Close()
	await(t, "the address", func() bool {
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + s.listen + "/livez")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	cancel()
	serving.Wait()
}
