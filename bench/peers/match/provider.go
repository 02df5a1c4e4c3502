package match

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
	"github.com/statesync/statesync/client"
)

// configDeadline is how long a request waits for its settings.
const configDeadline = time.Second

// ttl is how long the cached settings are good.
const ttl = 30 * time.Second

// flushChannel is where instances are told to drop what they cached.
const flushChannel = "flush"

// way is how settings come into a request, and where from.
type way struct {
	Mode    string `json:"mode"`
	Address string `json:"address,omitempty"` // of the backend: a socket, a file, a region
}

// provider gives each request its settings.
type provider interface {
	// settings are those of one request. What it returns is not changed.
	settings(ctx context.Context) (*config.Settings, error)
	// reads is how often the backend was asked.
	reads() uint64
	close()
}

func (w way) open() (provider, error) {
	switch w.Mode {
	case modeConstant:
		return newConstant()
	case modeGRPC:
		return newGRPC(w.Address)
	case modeCache:
		return newCache(w.Address)
	case modeReplica:
		return &replica{db: openRedis(w.Address)}, nil
	case modeFile:
		return newFile(w.Address)
	case modeStateSync:
		return newStateSync(w.Address)
	}
	return nil, fmt.Errorf("there is no way %q", w.Mode)
}

// counter counts what the backend is asked.
type counter struct{ n atomic.Uint64 }

func (c *counter) reads() uint64 { return c.n.Load() }

// constant is the floor: settings that are in the program.
type constant struct {
	counter
	s *config.Settings
}

func newConstant() (*constant, error) {
	s, err := config.Decode(content(firstVersion))
	return &constant{s: s}, err
}

func (c *constant) settings(context.Context) (*config.Settings, error) { return c.s, nil }
func (c *constant) close()                                             {}

// quiet keeps go-redis from writing a line for each failed call: they are
// counted.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func openRedis(socket string) *redis.Client {
	redis.SetLogger(quiet{})
	return redis.NewClient(&redis.Options{
		Network: "unix", Addr: socket, ContextTimeoutEnabled: true,
		PoolSize: 64, MaxRetries: -1, // a request has one try: its deadline is near
	})
}

func fetch(ctx context.Context, db *redis.Client) (*config.Settings, error) {
	text, err := db.HGet(ctx, config.Name, configField).Bytes()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return config.Decode(text)
}

// grpc asks a service, which asks Redis, for every request.
type grpc struct {
	counter
	c *server.GRPCClient
}

func newGRPC(address string) (*grpc, error) {
	c, err := server.DialGRPC(address)
	return &grpc{c: c}, err
}

func (g *grpc) settings(ctx context.Context) (*config.Settings, error) {
	g.n.Add(1)
	text, err := g.c.Get(ctx, config.Name, configField)
	if err != nil {
		return nil, err
	}
	return config.Decode([]byte(text))
}

func (g *grpc) close() { _ = g.c.Close() }

// replica reads a Redis on the same host for every request.
type replica struct {
	counter
	db *redis.Client
}

func (r *replica) settings(ctx context.Context) (*config.Settings, error) {
	r.n.Add(1)
	return fetch(ctx, r.db)
}

func (r *replica) close() { _ = r.db.Close() }

// cache keeps decoded settings for the TTL, or until it is told to drop them.
// Every request that finds nothing asks Redis, as most such caches are written.
type cache struct {
	counter
	db      *redis.Client
	flushes *redis.PubSub
	done    sync.WaitGroup
	held    atomic.Pointer[cached]
	flushed atomic.Uint64 // times
}

type cached struct {
	*config.Settings
	until time.Time
}

func newCache(socket string) (*cache, error) {
	c := &cache{db: openRedis(socket)}
	c.flushes = c.db.Subscribe(context.Background(), flushChannel)
	if _, err := c.flushes.Receive(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to flushes: %w", err), c.db.Close())
	}
	c.done.Go(func() {
		for range c.flushes.Channel() {
			c.flushed.Add(1)
			c.held.Store(nil)
		}
	})
	return c, nil
}

func (c *cache) settings(ctx context.Context) (*config.Settings, error) {
	if held := c.held.Load(); held != nil && time.Now().Before(held.until) {
		return held.Settings, nil
	}
	c.n.Add(1)
	flushed := c.flushed.Load()
	s, err := fetch(ctx, c.db)
	if err == nil && flushed == c.flushed.Load() { // else it may be the old one
		c.held.Store(&cached{s, time.Now().Add(ttl)})
	}
	return s, err
}

func (c *cache) close() {
	_ = c.flushes.Close()
	c.done.Wait()
	_ = c.db.Close()
}

// stateSync is this project: an exact snapshot per request.
type stateSync struct {
	c       *client.Client
	binding *client.Binding[config.Settings]
}

func newStateSync(region string) (*stateSync, error) {
	c, err := client.Open(region, client.Wait(startup))
	if err != nil {
		return nil, err
	}
	return &stateSync{c: c, binding: client.Bind[config.Settings](c, config.Name)}, nil
}

func (s *stateSync) settings(context.Context) (*config.Settings, error) {
	return s.binding.Lookup(s.c.Snapshot())
}

// reads are the refreshes: what a change costs the process.
func (s *stateSync) reads() uint64 { return s.c.Stats().Refreshes }
func (s *stateSync) close()        { _ = s.c.Close() }
