package contestant

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
)

// inProcess hold what was decoded at the start. How a change would get there is
// not theirs, so that they can't be compared in that.
var inProcess = []*Contestant{
	{
		Name: "syncmap", Title: "`sync.Map`, by key", Publish: publishNothing, Note: "nothing changes it",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			var m sync.Map
			for _, f := range config.Fields(p.Size, 1) {
				m.Store(f.Key, any(f.Value))
			}
			m.Store(config.Key, any(config.Elo(1)))
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						v, _ := m.Load(config.Key)
						sum += v.(int)
					}
					return sum, nil
				},
				Close: nothing,
			}, nil
		},
	},
	{
		Name: "rwmutex", Title: "`map` and `sync.RWMutex`, by key", Publish: publishNothing, Note: "nothing changes it",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			m := newCache(p.Size)
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					for range n {
						sum += m.get(config.Key)
					}
					return sum, nil
				},
				Close: nothing,
			}, nil
		},
	},
}

// floors are what nothing can be faster than.
var floors = []*Contestant{
	{
		Name: "pointer", Title: "`atomic.Pointer`", Floor: true, Publish: publishNothing, Note: "nothing changes it",
		Open: func(_ context.Context, p Place) (*Reader, error) {
			s, err := config.Decode(config.Document(p.Size, 1))
			var pointer atomic.Pointer[config.Settings]
			pointer.Store(s)
			return &Reader{
				Loop: func(n int) (sum int, err error) {
					// One load a turn is a loop of five instructions, whose time may double
					// with where in the program it begins.
					for range n / 4 {
						sum += pointer.Load().Weights.Elo + pointer.Load().Weights.Elo + pointer.Load().Weights.Elo + pointer.Load().Weights.Elo
					}
					for range n % 4 {
						sum += pointer.Load().Weights.Elo
					}
					return sum, nil
				},
				Close: nothing,
			}, err
		},
	},
	{
		Name: "futex", Title: "a bare futex wake", Floor: true, Note: "a word, and no config",
		Publish: func(_ context.Context, p *Place, _ *server.Fleet) (Source, error) {
			w, err := createWord(filepath.Join(p.Shm, "word"), config.Elo(1))
			if err != nil {
				return Source{}, err
			}
			return Source{Put: func(_ context.Context, version int) error { return w.store(config.Elo(version)) }, Close: w.Close}, nil
		},
		Open: func(_ context.Context, p Place) (*Reader, error) {
			w, err := openWord(filepath.Join(p.Shm, "word"))
			if err != nil {
				return nil, err
			}
			return &Reader{Loop: each(func() (int, error) { return w.load(), nil }), Watch: w.watch, Close: w.Close}, nil
		},
	},
}

func publishNothing(context.Context, *Place, *server.Fleet) (Source, error) {
	return Source{Put: nil, Close: nothing}, nil
}

// cache is a map behind a lock.
type cache struct {
	mu sync.RWMutex
	m  map[string]any
}

func newCache(size int) *cache {
	c := &cache{m: map[string]any{}}
	for _, f := range config.Fields(size, 1) {
		c.m[f.Key] = f.Value
	}
	c.m[config.Key] = config.Elo(1)
	return c
}

func (c *cache) get(key string) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.m[key].(int)
}

func (c *cache) replace(m map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m = m
}
