package match

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/origin"
	"github.com/statesync/statesync/bench/peers/process"
)

// file reads the mapped file, and decodes it, for every request.
type file struct {
	counter
	r *origin.Reader
}

func newFile(path string) (*file, error) {
	r, err := origin.Open(path)
	return &file{r: r}, err
}

func (f *file) settings(context.Context) (*config.Settings, error) {
	f.n.Add(1)
	return config.Decode(f.r.Get())
}

func (f *file) close() { _ = f.r.Close() }

// supplyFile starts a sidecar that turns a file in a folder into the mapped one.
func (s *stacks) supplyFile(ctx context.Context, m *mode) error {
	from := filepath.Join(s.dir, "sidecar", config.Name+".json")
	m.way.Address = filepath.Join(s.shm, "mapped")
	if err := replaceFile(from, content(firstVersion)); err != nil {
		return err
	}
	sidecar, err := process.Start(ctx, sidecarPart, from, m.way.Address)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, sidecar.Stop)
	m.pids = []int{sidecar.Pid()}
	// The reader looks at a ticker's time. A change that always came just after
	// a look would always be seen as late as can be.
	random := rand.New(rand.NewPCG(1, 2))
	m.prepare = func(ctx context.Context) error {
		return process.Sleep(ctx, time.Duration(random.Int64N(int64(origin.Tick))))
	}
	m.change = func(_ context.Context, version int) error { return replaceFile(from, content(version)) }
	m.backends = []backend{{"the sidecar", sidecar}}
	return nil
}

// sidecarPart is the origin's sidecar: it watches the folder, and looks at a
// ticker's time as well.
var sidecarPart = process.Register("match-sidecar", func(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want the file to watch and the one to write", len(args))
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	publish := func() error {
		document, err := os.ReadFile(args[0])
		if err == nil {
			err = origin.Publish(args[1], document)
		}
		return err
	}
	if err := errors.Join(watcher.Add(filepath.Dir(args[0])), publish(), process.Ready(out, "")); err != nil {
		return err
	}
	ticker := time.NewTicker(origin.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			if event.Name == args[0] && event.Has(fsnotify.Create) {
				_ = publish() // its errors were swallowed, too
			}
		case <-ticker.C:
			_ = publish()
		}
	}
})
