package server

import (
	"context"
	"errors"
	"sync"

	"github.com/statesync/statesync/bench/peers/process"
)

// Fleet starts each server when it is first asked for, and stops all of them
// together. It may be used from any goroutine.
type Fleet struct {
	dir string

	mu    sync.Mutex
	redis *Redis
	grpc  *GRPC
	parts map[string]*process.Process
}

// NewFleet makes a fleet whose files are in dir. It starts nothing.
func NewFleet(dir string) *Fleet {
	return &Fleet{dir: dir, parts: map[string]*process.Process{}}
}

// Redis is the fleet's redis-server.
func (f *Fleet) Redis(ctx context.Context) (*Redis, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.startRedis(ctx)
}

func (f *Fleet) startRedis(ctx context.Context) (_ *Redis, err error) {
	if f.redis == nil {
		f.redis, err = StartRedis(ctx, f.dir)
	}
	return f.redis, err
}

// GRPC is a config service in front of the fleet's Redis.
func (f *Fleet) GRPC(ctx context.Context) (*GRPC, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.startRedis(ctx)
	if err == nil && f.grpc == nil {
		f.grpc, err = StartGRPC(ctx, r)
	}
	return f.grpc, err
}

// Etcd is the fleet's etcd, at host:port.
func (f *Fleet) Etcd(ctx context.Context) (string, error) {
	return f.part("etcd", func() (*process.Process, error) { return StartEtcd(ctx, f.dir) })
}

// NATS is the URL of the fleet's NATS server.
func (f *Fleet) NATS(ctx context.Context) (string, error) {
	return f.part("nats", func() (*process.Process, error) { return StartNATS(ctx, f.dir) })
}

// Agent is the base URL of the fleet's HTTP agent.
func (f *Fleet) Agent(ctx context.Context) (string, error) {
	return f.part("agent", func() (*process.Process, error) { return StartAgent(ctx) })
}

func (f *Fleet) part(name string, start func() (*process.Process, error)) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.parts[name]; p != nil {
		return p.Address, nil
	}
	p, err := start()
	if err != nil {
		return "", err
	}
	f.parts[name] = p
	return p.Address, nil
}

// Stop stops all servers of the fleet.
func (f *Fleet) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	if f.grpc != nil {
		errs = append(errs, f.grpc.Stop())
	}
	if f.redis != nil {
		errs = append(errs, f.redis.Stop())
	}
	for _, p := range f.parts {
		errs = append(errs, p.Stop())
	}
	f.redis, f.grpc, f.parts = nil, nil, map[string]*process.Process{}
	return errors.Join(errs...)
}
