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
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/shm/writer"
)

// metaSetting is one of the ways to run a script. All must have the same result.
type metaSetting struct {
	name   string
	slots  [3]int           // by the number in "start"
	lazy   bool             // all clients are opened lazy
	copy   bool             // "write" is done by rename, too
	layers bool             // the daemon merges the two layers, and not the test
	remote func(r *metaRun) // has the source fetched from elsewhere; nil: it is a directory
	start  func(r *metaRun, slots int) *process
}

var metaSettings = []metaSetting{
	{name: "command", slots: [3]int{4, 2, 9}, start: metaCommand},
	{name: "package", slots: [3]int{2, 32, 3}, lazy: true, copy: true, layers: true, start: func(r *metaRun, slots int) *process {
		return spawn(r, "metamorphic-daemon", r.base, strconv.Itoa(slots))
	}},
	{name: "git", slots: [3]int{3, 6, 2}, copy: true, remote: metaGit, start: metaCommand},
	{name: "bundle", slots: [3]int{5, 2, 12}, lazy: true, copy: true, remote: metaBundle, start: metaCommand},
}

func metaCommand(r *metaRun, slots int) *process {
	return start(r, exec.Command(build(r, "github.com/statesync/statesync/cmd/statesyncd"), "--source", r.source,
		"--region", filepath.Join(r.base, "region"), "--state-dir", filepath.Join(r.base, "state"), "--slots", strconv.Itoa(slots), "--max-image", "1MiB"))
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
