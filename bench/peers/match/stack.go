package match

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/statesyncd"
	"github.com/statesync/statesync/bench/peers/server"
)

// In Redis the config is a field of a hash, as the gRPC service has it.
const configField = "json"

// cachedKeys is how many keys a flush deletes: what a fleet has cached in
// Redis beside this service. Because of them a flush takes tens of milliseconds,
// in which Redis answers no request, as the origin's did.
const cachedKeys = 50_000

var (
	fill = redis.NewScript(`
for i = 1, tonumber(ARGV[1]) do
	redis.call('SET', 'cached:' .. i, '0123456789abcdef0123456789abcdef')
end`)
	flush = redis.NewScript(`
local keys = redis.call('KEYS', 'cached:*')
for i = 1, #keys, 5000 do
	redis.call('DEL', unpack(keys, i, math.min(i + 4999, #keys)))
end
return #keys`)
)

// stacks are the running modes and what they share.
type stacks struct {
	dir, shm string // folders for files, and for those in shared memory
	modes    []*mode
	closers  []func() error

	redis *server.Redis // of the modes with a flush
	admin *redis.Client
}

// startStacks starts the modes that are wanted with all that they need.
func startStacks(ctx context.Context, dir, shm string, wanted func(string) bool) (s *stacks, err error) {
	s = &stacks{dir: dir, shm: shm}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, name := range modes {
		if !wanted(name) {
			continue
		}
		m := &mode{way: way{Mode: name}, version: firstVersion}
		if err := s.supply(ctx, m); err != nil {
			return s, fmt.Errorf("mode %s: %w", name, err)
		}
		if m.service, err = startService(ctx, m.way); err != nil {
			return s, err
		}
		s.closers = append(s.closers, m.stop)
		s.modes = append(s.modes, m)
		if a := m.request(0); a.err != nil || a.version != firstVersion {
			return s, fmt.Errorf("mode %s: the first answer has version %d, want %d: %w", name, a.version, firstVersion, a.err)
		}
	}
	return s, nil
}

// close stops everything, the last first.
func (s *stacks) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// supply starts what a mode needs beside the service.
func (s *stacks) supply(ctx context.Context, m *mode) error {
	switch m.way.Mode {
	case modeGRPC, modeCache:
		return s.supplyRedis(ctx, m)
	case modeReplica:
		return s.supplyReplica(ctx, m)
	case modeFile:
		return s.supplyFile(ctx, m)
	case modeStateSync:
		return s.supplyRegion(ctx, m)
	}
	return nil
}

// supplyRedis has both modes with a flush use one Redis.
func (s *stacks) supplyRedis(ctx context.Context, m *mode) (err error) {
	if s.redis == nil {
		if s.redis, s.admin, err = s.startRedis(ctx); err != nil {
			return err
		}
	}
	m.way.Address = s.redis.Socket
	m.pids = []int{s.redis.Pid()}
	m.backends = []backend{{"Redis", s.redis.Process}}
	m.prepare, m.change = s.fillRedis, s.changeAndFlush
	m.ages = m.way.Mode == modeCache
	if m.way.Mode == modeGRPC {
		g, err := server.StartGRPC(ctx, s.redis)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, g.Stop)
		m.way.Address = g.Addr
		m.pids = append(m.pids, g.Pid())
		m.backends = append(m.backends, backend{"the gRPC service", g.Process})
	}
	return setConfig(ctx, s.admin, firstVersion)
}

// supplyReplica starts a primary and a replica of it, which the service reads.
func (s *stacks) supplyReplica(ctx context.Context, m *mode) error {
	primary, admin, err := s.startRedis(ctx)
	if err != nil {
		return err
	}
	m.change = func(ctx context.Context, version int) error { return setConfig(ctx, admin, version) }
	if err := m.change(ctx, firstVersion); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		return err
	}
	replica, local, err := s.startRedis(ctx, "--replicaof", host, port)
	if err != nil {
		return err
	}
	m.way.Address = replica.Socket
	m.pids = []int{primary.Pid(), replica.Pid()}
	m.backends = []backend{{"the primary Redis", primary.Process}, {"the replica", replica.Process}}
	return poll(ctx, func() (bool, error) {
		info, err := local.Info(ctx, "replication").Result()
		return strings.Contains(info, "master_link_status:up"), err
	})
}

func (s *stacks) startRedis(ctx context.Context, flags ...string) (*server.Redis, *redis.Client, error) {
	r, err := server.StartRedis(ctx, s.dir, append(flags, "--repl-diskless-sync-delay", "0")...)
	if err != nil {
		return nil, nil, err
	}
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
	s.closers = append(s.closers, r.Stop, c.Close)
	return r, c, nil
}

// setConfig is a change where nothing is cached.
func setConfig(ctx context.Context, c *redis.Client, version int) error {
	return c.HSet(ctx, config.Name, configField, content(version)).Err()
}

// changeAndFlush is a change where instances cache what they read, and Redis
// what was made of it: set, tell the instances, and delete what was cached.
func (s *stacks) changeAndFlush(ctx context.Context, version int) error {
	if err := setConfig(ctx, s.admin, version); err != nil {
		return err
	}
	if err := s.admin.Publish(ctx, flushChannel, version).Err(); err != nil {
		return err
	}
	return flush.Run(ctx, s.admin, nil).Err()
}

func (s *stacks) fillRedis(ctx context.Context) error {
	err := fill.Run(ctx, s.admin, nil, cachedKeys).Err()
	if errors.Is(err, redis.Nil) { // the script returns nothing
		return nil
	}
	return err
}

// supplyRegion starts the daemon on a folder with the config.
func (s *stacks) supplyRegion(ctx context.Context, m *mode) error {
	binary, err := statesyncd.Build(ctx, s.dir)
	if err != nil {
		return err
	}
	source := filepath.Join(s.dir, "source")
	path := filepath.Join(source, config.Name+".json")
	if err := replaceFile(path, content(firstVersion)); err != nil {
		return err
	}
	region := filepath.Join(s.shm, "region")
	d, err := statesyncd.Start(binary, source, region, filepath.Join(s.dir, "state"))
	if err != nil {
		return err
	}
	s.closers = append(s.closers, d.Stop)
	m.way.Address = region
	m.pids = []int{d.Pid()}
	m.change = func(_ context.Context, version int) error { return replaceFile(path, content(version)) }
	m.backends = []backend{{"the daemon", d}}
	return nil
}

// replaceFile writes a file as a whole, in a folder that it makes.
func replaceFile(path string, content []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// poll asks until the answer is yes, with a bound.
func poll(ctx context.Context, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		if err := process.Sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("not ready within %s: %w", startup, err)
		}
	}
}
