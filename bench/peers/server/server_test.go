package server

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/statesync/statesync/bench/peers/process"
)

func TestMain(m *testing.M) {
	process.Main()
	m.Run()
}

func TestGRPCInFrontOfRedis(t *testing.T) {
	ctx := t.Context()
	r, err := StartRedis(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Kill() // of no effect once it is stopped
	g, err := StartGRPC(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	store := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer store.Close()
	if err := store.HSet(ctx, "config", "elo", "1500").Err(); err != nil {
		t.Fatal(err)
	}
	c, err := DialGRPC(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := c.Get(ctx, "config", "elo"); v != "1500" || err != nil {
		t.Errorf("the config service says %q (%v), want 1500", v, err)
	}
	if v, err := c.Get(ctx, "config", "none"); err == nil {
		t.Errorf("the config service says %q for a field that is not there", v)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "config", "elo"); err == nil {
		t.Error("a stopped config service answers")
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if err := store.Ping(ctx).Err(); err == nil {
		t.Error("a stopped Redis answers")
	}
}

func TestFleet(t *testing.T) {
	f := NewFleet(t.TempDir())
	for name, start := range map[string]func(context.Context) (string, error){"etcd": f.Etcd, "NATS": f.NATS, "agent": f.Agent} {
		address, err := start(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := start(t.Context())
		if again != address || err != nil {
			t.Errorf("%s is at %s, and asked again at %s (%v)", name, address, again, err)
		}
		at := strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "nats://")
		defer func() {
			if c, err := net.Dial("tcp", at); err == nil {
				c.Close()
				t.Errorf("%s is still at %s after Stop", name, at)
			}
		}()
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Close()
	}
	if err := f.Stop(); err != nil {
		t.Error(err)
	}
}
