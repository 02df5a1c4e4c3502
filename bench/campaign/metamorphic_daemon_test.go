//go:build linux

package campaign

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/shm/writer"
)

// metaSetting is one of the ways to run a script. All must have the same result.
type metaSetting struct {
	name   string
	slots  [3]int // by the number in "start"
	lazy   bool   // all clients are opened lazy
	copy   bool   // "write" is done by rename, too
	layers bool   // the daemon merges the two layers, and not the test
	start  func(t testing.TB, base string, slots int) *process
}

var metaSettings = []metaSetting{
	{name: "command", slots: [3]int{4, 2, 9}, start: func(t testing.TB, base string, slots int) *process {
		return start(t, exec.Command(build(t, "github.com/statesync/statesync/cmd/statesyncd"),
			"--source", "dir:"+filepath.Join(base, "source"), "--region", filepath.Join(base, "region"),
			"--state-dir", filepath.Join(base, "state"), "--slots", strconv.Itoa(slots), "--max-image", "1MiB"))
	}},
	{name: "package", slots: [3]int{2, 32, 3}, lazy: true, copy: true, layers: true, start: func(t testing.TB, base string, slots int) *process {
		return spawn(t, "metamorphic-daemon", base, strconv.Itoa(slots))
	}},
}

func init() {
	// metamorphic-daemon BASE SLOTS: the daemon as a package with two layers, which reads
	// its sources all the time instead of waiting for hints.
	roles["metamorphic-daemon"] = func(ctx context.Context, args []string) error {
		slots, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		sources, err := daemon.Schemes.Parse([]string{"under=dir:" + filepath.Join(args[0], "under"), "dir:" + filepath.Join(args[0], "source")})
		if err != nil {
			return err
		}
		d := daemon.New(daemon.Options{
			Sources:  sources,
			Region:   filepath.Join(args[0], "region"),
			StateDir: filepath.Join(args[0], "state"),
			Writer:   writer.Options{Slots: slots, MaxImage: 100 << 10, Group: -1},
			LockWait: patience,
			Resync:   20 * time.Millisecond,
			Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		go func() {
			for range hup {
				_, _ = d.Do(ctx, daemon.Request{Command: daemon.Reload{}}) // one that ends has nothing to reload
			}
		}()
		ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer cancel()
		return d.Run(ctx)
	}
}
