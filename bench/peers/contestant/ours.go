package contestant

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/server"
	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

var ours = []*Contestant{
	{
		Name: "binding", Title: "StateSync, `Binding.Get`", Ours: true, Publish: publishRegion,
		Note: "follows the region; one load",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			c, b, err := bind(p)
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n / 4 { // as the floor's, see there
						sum += b.Get().Weights.Elo + b.Get().Weights.Elo + b.Get().Weights.Elo + b.Get().Weights.Elo
					}
					for range n % 4 {
						sum += b.Get().Weights.Elo
					}
					return sum, b.Err()
				},
				Watch:  watchClient(c, b),
				Polled: true, Close: c.Close,
			}, nil
		},
	},
	{
		Name: "snapshot", Title: "StateSync, `Snapshot` and `In`", Ours: true, Publish: publishRegion,
		Note: "exact: it has every change that was published before",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			c, b, err := bind(p)
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						sum += b.In(c.Snapshot()).Weights.Elo
					}
					return sum, b.Err()
				},
				Exact: true, Close: c.Close,
			}, nil
		},
	},
	{
		Name: "doc", Title: "StateSync, `Doc.Int` by key", Ours: true, Publish: publishRegion,
		Note: "of a `Doc` that the request has; a hash and a look-up",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			c, err := open(p)
			if err != nil {
				return nil, err
			}
			doc, err := c.Get(config.Name)
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						v, err := doc.Int(config.Key)
						if err != nil {
							return 0, err
						}
						sum += v
					}
					return sum, nil
				},
				Close: c.Close,
			}, err
		},
	},
	{
		Name: "get", Title: "StateSync, `Get` by name and `Int` by key", Ours: true, Publish: publishRegion,
		Note: "exact, without a Go type",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			c, err := open(p)
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						doc, err := c.Get(config.Name)
						if err != nil {
							return 0, err
						}
						v, err := doc.Int(config.Key)
						if err != nil {
							return 0, err
						}
						sum += v
					}
					return sum, nil
				},
				Exact: true, Close: c.Close,
			}, nil
		},
	},
	{
		Name: "daemon", Title: "StateSync, a file through statesyncd", Ours: true, Publish: publishFile,
		Note: "the file is replaced by rename; the daemon is a third process",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			c, b, err := bind(p)
			if err != nil {
				return nil, err
			}
			return &Reader{
				Loop:   each(func() (int, error) { return b.Get().Weights.Elo, b.Err() }),
				Watch:  watchClient(c, b),
				Polled: true, Close: c.Close,
			}, nil
		},
	},
}

func open(p Place) (*client.Client, error) {
	return client.Open(filepath.Join(p.Shm, "region"), client.Wait(10*time.Second))
}

func bind(p Place) (*client.Client, *client.Binding[config.Settings], error) {
	c, err := open(p)
	if err != nil {
		return nil, nil, err
	}
	return c, client.Bind[config.Settings](c, config.Name), nil
}

// watchClient tells of each change when the binding has it. The binding may be
// about to decode it, which In waits for.
func watchClient(c *client.Client, b *client.Binding[config.Settings]) func(context.Context, func(int)) error {
	return func(ctx context.Context, seen func(int)) error {
		for change := range c.Watch(ctx, config.Name) {
			if change.Err != nil {
				return change.Err
			}
			seen(b.In(c.Snapshot()).Weights.Elo)
		}
		return nil
	}
}

// publishRegion publishes straight into a region, as the daemon's last step.
func publishRegion(ctx context.Context, p *Place, _ *server.Fleet) (s Source, err error) {
	w, err := writer.Own(ctx, filepath.Join(p.Shm, "region"), writer.Options{MaxImage: int64(8 * p.Size), Group: -1})
	if err != nil {
		return s, err
	}
	var current *image.Image
	var mu sync.Mutex // serializes the heartbeat and the publisher
	put := func(_ context.Context, version int) error {
		canonical, err := image.Canonical(config.Document(p.Size, version))
		if err != nil {
			return err
		}
		section, err := image.NewDocument(config.Name, canonical)
		if err != nil {
			return err
		}
		generation := uint64(1)
		if current != nil {
			generation = current.Generation() + 1
		}
		next, err := image.Build(generation, "peers", []*image.Section{section}, current)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if current == nil {
			err = w.Create(generation, next.Words())
		} else {
			err = w.Publish(generation, next.Words())
		}
		current = next
		return err
	}
	if err := put(ctx, 1); err != nil {
		return s, errors.Join(err, w.Close())
	}
	beating, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(shm.HeartbeatInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				mu.Lock()
				_ = w.Beat()
				mu.Unlock()
			case <-beating.Done():
				return
			}
		}
	}()
	return Source{Put: put, Close: func() error {
		stop()
		<-stopped
		return w.Close()
	}}, nil
}

// publishFile lets a daemon publish a folder.
func publishFile(ctx context.Context, p *Place, _ *server.Fleet) (s Source, err error) {
	file := &replacer{path: filepath.Join(p.Dir, "source", config.Name+".json")}
	if err := os.MkdirAll(filepath.Dir(file.path), 0o755); err != nil {
		return s, err
	}
	put := func(_ context.Context, version int) error {
		return file.replace(config.Document(p.Size, version))
	}
	if err := put(ctx, 1); err != nil {
		return s, err
	}
	d, err := process.Start(ctx, daemonPart, filepath.Dir(file.path), filepath.Join(p.Shm, "region"), filepath.Join(p.Dir, "state"))
	if err != nil {
		return s, err
	}
	return file.source(put, d.Stop), nil
}

// daemonPart is statesyncd, without its flags.
var daemonPart = process.Register("statesyncd", func(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	if len(args) != 3 {
		return errors.New("wants the folders of a source, of a region and for the state")
	}
	sources, err := daemon.Schemes.Parse([]string{"dir:" + args[0]})
	if err != nil {
		return err
	}
	d := daemon.New(daemon.Options{
		Sources: sources, Region: args[1], StateDir: args[2], Writer: writer.Options{MaxImage: 16 << 20, Group: -1},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err := process.Ready(out, args[1]); err != nil {
		return err
	}
	return d.Run(ctx)
})
