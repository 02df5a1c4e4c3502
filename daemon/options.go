//go:build unix

package daemon

import (
	"io/fs"
	"log/slog"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// Defaults of the command's flags.
const (
	DefaultResync   = 5 * time.Second
	DefaultLockWait = 10 * time.Second
	DefaultMaxImage = 64 << 20 // bytes
	DefaultMode     = fs.FileMode(0o644)
)

// Options say what a daemon publishes, where, and how.
type Options struct {
	// Source is where configs come from, as source.Spec has it: "dir:PATH".
	Source string
	// Region is the region's directory. The default is shm.DefaultDir.
	Region string
	// Writer configures the region. Its MaxImage, in bytes, defaults to 64 MiB; it
	// also limits the size of each file of the source, and four times its value
	// limits the size of all files together. Its Group is a group's number, also
	// if it is 0: -1 leaves the group as it is.
	Writer writer.Options
	// StateDir is where reserved generations and the last good image are kept.
	// Without one, a region that is recreated starts at generation 1, and there
	// is nothing to publish while the source cannot be read.
	StateDir string
	// LockWait is how long to wait for another daemon to release the region and
	// the state directory. The daemon does not wait if it is 0.
	LockWait time.Duration
	// Resync is how often the source is read although it gave no hint. The
	// default is 5 s.
	Resync time.Duration
	// Opaque are globs of files that are published as they are, as in
	// plan.Options.
	Opaque []string
	// AllowEmpty accepts a source without any config.
	AllowEmpty bool
	// Log is where the daemon says what it does. The default is slog.Default().
	Log *slog.Logger
	// Hooks are called as the daemon works. A nil hook is not called.
	Hooks Hooks
}

// Hooks are called on the daemon's own goroutine, so that they must not block.
type Hooks struct {
	// Published is called after a commit, with the time since the reading that
	// found the revision began.
	Published func(took time.Duration)
	// Reloading is called when a reload begins. The next Turned reports its end,
	// whether it succeeded or not.
	Reloading func()
	// Turned is called when a turn of Run has ended: the start, or a reading of the
	// source, or a heartbeat. One ends at least once in shm.HeartbeatInterval,
	// unless something hangs.
	Turned func(Stats)
}

func (o Options) withDefaults() Options {
	if o.Region == "" {
		o.Region = shm.DefaultDir
	}
	if o.Writer.Slots == 0 {
		o.Writer.Slots = shm.DefaultSlots
	}
	if o.Writer.MaxImage == 0 {
		o.Writer.MaxImage = DefaultMaxImage
	}
	if o.Resync <= 0 {
		o.Resync = DefaultResync
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Hooks.Published == nil {
		o.Hooks.Published = func(time.Duration) {}
	}
	if o.Hooks.Reloading == nil {
		o.Hooks.Reloading = func() {}
	}
	if o.Hooks.Turned == nil {
		o.Hooks.Turned = func(Stats) {}
	}
	return o
}
